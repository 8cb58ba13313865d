// Shows the upload queue: total progress, one line per file, what failed and why.

import { $, announce, h, icon, iconButton } from './dom.js';
import { bytes, count, plural } from './format.js';
import { openItem } from './state.js';
import { UploadQueue } from './upload.js';

/** Lines shown at once; a folder of thousands must not become thousands of nodes. */
const MOST_LINES = 40;
const RANK = { failed: 0, sending: 1, duplicate: 3, stored: 3, waiting: 2, cancelled: 4 };
const WORDS = { waiting: 'waiting', stored: 'stored', duplicate: 'already here', cancelled: 'cancelled' };

function bar(share, label) {
  const track = h('div', { class: 'track', role: 'progressbar', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '100' }, h('div', {}));
  setBar(track, share);
  return track;
}

function setBar(track, share) {
  track.setAttribute('aria-valuenow', String(Math.round(share * 100)));
  track.firstChild.style.transform = `scaleX(${share})`;
}

const lines = new WeakMap();

// A line is made again only when its state changes, so that a button under the mouse
// is not replaced between press and release.
function line(entry, queue) {
  const share = entry.file.size ? Math.min(1, entry.sent / entry.file.size) : 0;
  const sending = entry.state === 'sending';
  let note = WORDS[entry.state] ?? '';
  if (sending) note = share < 1 ? `${Math.round(share * 100)} %` : 'storing';
  if (entry.error) note = entry.error;
  const known = lines.get(entry);
  if (known?.state === entry.state) {
    known.note.textContent = note;
    if (known.bar) setBar(known.bar, share);
    return known.element;
  }
  const made = { state: entry.state, note: h('span', { class: 'note', text: note }), bar: sending ? bar(share, `Sending ${entry.file.name}`) : null };
  const name = entry.itemId
    ? h('button', { type: 'button', class: 'link name', text: entry.file.name, on: { click: () => openItem(entry.itemId) } })
    : h('span', { class: 'name', text: entry.file.name });
  made.element = h('li', { 'data-state': entry.state, title: entry.folder ? `${entry.folder}/${entry.file.name}` : entry.file.name },
    name, made.note,
    entry.state === 'failed' || entry.state === 'cancelled' ? iconButton('retry', `Try ${entry.file.name} again`, () => queue.retry(entry)) : null,
    entry.state === 'stored' || entry.state === 'duplicate' ? icon('check') : null,
    made.bar);
  lines.set(entry, made);
  return made.element;
}

function headline(totals, total) {
  const running = totals.waiting + totals.sending;
  if (running) return `Adding ${count(total - running)} of ${plural(total, 'file')} · ${bytes(totals.sent)} of ${bytes(totals.bytes)}`;
  const parts = [];
  if (totals.stored) parts.push(`${plural(totals.stored, 'file')} added`);
  if (totals.duplicate) parts.push(`${count(totals.duplicate)} already here`);
  if (totals.failed) parts.push(`${count(totals.failed)} failed`);
  if (totals.cancelled) parts.push(`${count(totals.cancelled)} cancelled`);
  return parts.join(', ') || 'Nothing to add';
}

/** Connects the panel. Returns {add, pick}. */
export function startUploads({ onStored }) {
  const panel = $('#uploads');
  let frame = 0;
  let ended = true;
  const queue = new UploadQueue({
    onStored,
    onChange: () => { frame ||= requestAnimationFrame(render); },
  });
  const title = h('h2', {});
  const totalBar = bar(0, 'All uploads');
  totalBar.classList.add('total');
  const list = h('ul', {});
  const more = h('p', { class: 'fine' });
  const retryAll = h('button', { type: 'button', class: 'link', text: 'Try failed ones again', on: { click: () => queue.entries.filter((e) => e.state === 'failed').forEach((e) => queue.retry(e)) } });
  const stop = h('button', { type: 'button', class: 'link', text: 'Cancel the rest', on: { click: () => queue.cancel() } });
  const hide = iconButton('close', 'Close the list of uploads', () => { queue.clear(); panel.hidden = true; });
  panel.append(h('div', { class: 'head' }, title, hide), totalBar, list, more, h('div', { class: 'foot' }, retryAll, stop));

  function render() {
    frame = 0;
    const totals = queue.totals();
    const all = queue.entries.length;
    const running = totals.waiting + totals.sending > 0;
    const words = headline(totals, all);
    title.textContent = words;
    setBar(totalBar, totals.bytes ? totals.sent / totals.bytes : running ? 0 : 1);
    const order = [...queue.entries].sort((a, b) => RANK[a.state] - RANK[b.state]).slice(0, MOST_LINES);
    const wanted = order.map((entry) => line(entry, queue));
    if (wanted.length !== list.children.length || wanted.some((element, at) => element !== list.children[at])) list.replaceChildren(...wanted);
    more.textContent = all > MOST_LINES ? `and ${count(all - MOST_LINES)} more` : '';
    retryAll.hidden = totals.failed < 2;
    stop.hidden = !running;
    if (!running && !ended) announce(words);
    ended = !running;
  }

  addEventListener('beforeunload', (event) => { if (!ended) event.preventDefault(); });
  const picker = $('#upload-files');
  picker.addEventListener('change', () => {
    const files = [...picker.files].map((file) => ({ file, folder: '' }));
    picker.value = '';
    if (files.length) api.add(files);
  });
  const api = {
    add: (files) => {
      panel.hidden = false;
      ended = false;
      queue.add(files);
    },
    pick: () => picker.click(),
  };
  return api;
}
