// The search box: live words, and the picture or example that is searched by.

import { $, h, iconButton } from './dom.js';
import { get, image, setImage, subscribe, update } from './state.js';
import { renditionUrl } from './api.js';

/** A pause in typing that counts as a wish to see results, in milliseconds. */
const TYPING_PAUSE_MS = 160;
/** Pictures larger than this are made smaller here before they are sent. */
const SHRINK_ABOVE_BYTES = 3_000_000;
const SHRINK_TO_PIXELS = 1600;

/** Makes a large picture small enough to send; anything odd is sent as it is. */
export async function preparePicture(file) {
  if (file.size <= SHRINK_ABOVE_BYTES) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SHRINK_TO_PIXELS / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
    canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.92 });
  } catch {
    return file;
  }
}

// Drawn on a canvas, so that the page needs no blob: source for images.
async function preview(canvas, blob) {
  try {
    const bitmap = await createImageBitmap(blob);
    const side = Math.min(bitmap.width, bitmap.height);
    canvas.getContext('2d').drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, 64, 64);
    bitmap.close();
  } catch {
    canvas.classList.add('unknown');
  }
}

function showExample(state) {
  const box = $('#example');
  const key = image ? `picture:${state.picture}` : state.like;
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  box.hidden = !key;
  $('#query').placeholder = key ? 'Add words' : 'Search by words or picture';
  if (!key) {
    box.replaceChildren();
    return;
  }
  let picture;
  let label;
  if (image) {
    picture = h('canvas', { width: '64', height: '64', 'aria-hidden': 'true' });
    preview(picture, image.blob);
    label = `Stop searching by the picture ${image.name || ''}`.trim();
  } else {
    picture = h('img', { src: renditionUrl(state.like, 'thumb_150'), alt: 'the photo searched by', width: '64', height: '64' });
    label = 'Stop searching for similar photos';
  }
  box.replaceChildren(picture, iconButton('close', label, () => {
    if (image) setImage(null);
    else update({ like: '' }, { push: true });
    $('#query').focus();
  }));
}

/** Connects the box. */
export function startSearchBox({ grid }) {
  const input = $('#query');
  let timer = 0;
  const commit = (push) => {
    clearTimeout(timer);
    timer = 0;
    if (input.value.trim() !== get().q.trim()) update({ q: input.value, failed: false }, { push });
  };
  input.value = get().q;
  input.addEventListener('input', () => {
    clearTimeout(timer);
    // One step of history per search, not per letter.
    const first = !get().q;
    timer = setTimeout(() => commit(first), TYPING_PAUSE_MS);
  });
  // Whatever is pressed next is for the words that were typed.
  input.addEventListener('blur', () => { if (timer) commit(!get().q); });
  $('#clear-query').addEventListener('click', () => {
    input.value = '';
    commit(true);
    input.focus();
  });
  $('#search').addEventListener('submit', (event) => {
    event.preventDefault();
    commit(true);
  });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown') {
      event.preventDefault();
      commit(false);
      grid.focusIndex(0);
    } else if (event.key === 'Escape') {
      event.preventDefault();
      if (input.value) {
        input.value = '';
        commit(true);
      } else if (get().like || image) {
        setImage(null);
      } else {
        input.blur();
      }
    }
  });
  $('#pick-image').addEventListener('click', () => $('#image-file').click());
  $('#image-file').addEventListener('change', async (event) => {
    const [file] = event.target.files;
    event.target.value = '';
    if (file) setImage({ blob: await preparePicture(file), name: file.name });
  });
  subscribe((now) => {
    // Do not fight the typist: only a change from elsewhere, such as the back button, rewrites the box.
    if (!timer && input.value.trim() !== now.q.trim()) input.value = now.q;
    showExample(now);
  });
  showExample(get());
}
