// Dropping and pasting. A drop has two places, because the two wishes differ: search
// by this picture (nothing is stored) and add it to the library.

import { $, toast } from './dom.js';
import { preparePicture } from './search.js';

const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
const isImage = (file) => /^image\//.test(file.type) || /\.(jpe?g|png|webp|gif|tiff?|bmp|heic|avif)$/i.test(file.name);

/** Reads every file of a dropped folder, depth first, with the folder it lies in. */
async function walk(entry, folder, files) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    if (!file.name.startsWith('.')) files.push({ file, folder });
    return;
  }
  const reader = entry.createReader();
  const inside = folder ? `${folder}/${entry.name}` : entry.name;
  for (;;) {
    // Directory readers answer in batches until an empty one.
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return;
    for (const child of batch) await walk(child, inside, files);
  }
}

async function droppedFiles(transfer) {
  // Entries must be taken before the first await, or the browser forgets them.
  const entries = [...transfer.items].filter((item) => item.kind === 'file').map((item) => item.webkitGetAsEntry?.());
  const plain = [...transfer.files].map((file) => ({ file, folder: '' }));
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  const files = [];
  for (const entry of entries) if (entry) await walk(entry, '', files);
  return files;
}

/** Connects drop and paste. `onUpload([{file, folder}])`, `onSearch(blob, name)`. */
export function startDrop({ onUpload, onSearch }) {
  const overlay = $('#drop');
  let depth = 0;
  const close = () => {
    depth = 0;
    overlay.hidden = true;
    overlay.querySelectorAll('.zone').forEach((zone) => zone.classList.remove('over'));
  };
  const searchBy = async (file) => {
    if (isImage(file)) onSearch(await preparePicture(file), file.name);
    else toast(`${file.name} is not a picture; drop a picture to search by it`);
  };

  addEventListener('dragenter', (event) => {
    if (!hasFiles(event) || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    depth += 1;
    overlay.hidden = false;
  });
  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    const over = event.target.closest?.('.zone');
    overlay.querySelectorAll('.zone').forEach((zone) => zone.classList.toggle('over', zone === over));
    event.dataTransfer.dropEffect = over ? 'copy' : 'none';
  });
  addEventListener('dragleave', (event) => {
    if (!hasFiles(event)) return;
    depth -= 1;
    if (depth <= 0) close();
  });
  addEventListener('drop', async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    const zone = event.target.closest?.('[data-zone]')?.dataset.zone ?? (event.target.closest?.('#search') ? 'search' : '');
    close();
    if (zone === 'search') {
      const [file] = event.dataTransfer.files;
      if (file) await searchBy(file);
    } else if (zone === 'upload') {
      const files = await droppedFiles(event.dataTransfer);
      if (files.length) onUpload(files);
    }
  });
  addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !overlay.hidden) close();
  });
  addEventListener('paste', async (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(isImage);
    if (!file || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    await searchBy(file);
  });
}
