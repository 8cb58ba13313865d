// The panel of the item view: what the photo is, where it came from, what it is like.

import { h, icon, swatch, toast } from './dom.js';
import * as api from './api.js';
import { bytes, captured, listName, pixels, place, plural, reason, storedAt } from './format.js';
import { editForm } from './item_edit.js';
import { tileOf } from './query.js';
import { paint } from './thumbhash.js';

const SIMILAR = 12;

function facts(pairs) {
  const rows = pairs.filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', { text: name }), h('dd', {}, value)));
  return rows.length ? h('dl', { class: 'facts' }, rows) : null;
}

function section(title, ...content) {
  const parts = content.filter(Boolean);
  return parts.length ? h('section', {}, h('h3', { text: title }), parts) : null;
}

function camera(exif) {
  if (!exif) return null;
  const name = [exif.cameraMake, exif.cameraModel].filter(Boolean).join(' ');
  const exposure = [
    exif.exposureTime ? `${exif.exposureTime} s` : '',
    exif.fNumber ? `f/${Number(exif.fNumber.toFixed(1))}` : '',
    exif.iso ? `ISO ${exif.iso}` : '',
    exif.focalLengthMm ? `${Number(exif.focalLengthMm.toFixed(1))} mm` : '',
  ].filter(Boolean).join('  ·  ');
  const tags = Object.entries(exif.tags || {}).sort(([a], [b]) => a.localeCompare(b));
  return section('Camera',
    h('div', { class: 'exif' }, facts([['Camera', name], ['Lens', exif.lensModel], ['Exposure', exposure], ['Place', exif.position ? place(exif.position) : '']]),
      tags.length ? h('details', {}, h('summary', { text: `All ${plural(tags.length, 'tag')}` }), facts(tags)) : null));
}

function colours(item, onColor) {
  const colors = item.colors || [];
  if (!colors.length) return null;
  const row = colors.map((color) => {
    const share = Math.round((color.share || 0) * 100);
    const button = swatch(color.hex, `Find photos in ${color.hex}, ${share} % of this one`);
    button.style.setProperty('--grow', String(Math.max(0.08, color.share || 0)));
    button.addEventListener('click', () => onColor(color.hex));
    return button;
  });
  return section('Colours', h('div', { class: 'palette' }, row));
}

function renditions(item) {
  const rows = (item.renditions || []).map((rendition) => h('li', {},
    h('a', { href: api.renditionUrl(item.id, rendition.name), target: '_blank', rel: 'noopener' }, rendition.name.replaceAll('_', ' ')),
    h('span', { text: pixels(rendition.widthPixels, rendition.heightPixels) }),
    h('span', { text: bytes(rendition.sizeBytes) })));
  if (!rows.length) return null;
  return h('section', {}, h('details', { class: 'renditions' }, h('summary', { text: plural(rows.length, 'rendition') }), h('ul', {}, rows)));
}

function why(tile) {
  if (!tile?.parts?.length) return null;
  return section('Why it was found', h('table', { class: 'why' },
    h('thead', {}, h('tr', {}, ['list', 'place', 'score', 'adds'].map((text) => h('th', { scope: 'col', text })))),
    h('tbody', {}, tile.parts.map((part) => h('tr', {},
      h('td', { text: listName(part.list) }), h('td', { text: `#${part.rank}` }),
      h('td', { text: part.score.toFixed(3) }), h('td', { text: part.contribution.toFixed(4) }))))));
}

/** Whether others can be similar to it: films are not looked into. */
export const comparable = (item) => item.state === 'STATE_READY' && (item.kind !== 'KIND_VIDEO' || Boolean(item.thumbHash));

/** Similar photos, filled in when they arrive. */
function similar(item, { signal, onOpen, onSimilar }) {
  if (!comparable(item)) return null;
  const list = h('ul', { class: 'similar', 'aria-busy': 'true' });
  const box = section('Similar', list, h('button', { type: 'button', class: 'link', text: 'Show all similar photos', on: { click: onSimilar } }));
  // One more than shown: the photo itself is usually the best hit.
  api.search({ examples: [{ mediaItemId: item.id }], limit: SIMILAR + 1 }, signal).then((answer) => {
    const tiles = (answer.results || []).filter((hit) => hit.id !== item.id).slice(0, SIMILAR).map(tileOf);
    list.removeAttribute('aria-busy');
    if (!tiles.length) box.replaceChildren(h('h3', { text: 'Similar' }), h('p', { class: 'fine', text: 'Nothing like it yet.' }));
    list.replaceChildren(...tiles.map((tile) => {
      const canvas = h('canvas', { 'aria-hidden': 'true' });
      paint(canvas, tile.thumbHash);
      const name = tile.name || 'photo';
      return h('li', {}, h('button', { type: 'button', 'aria-label': `Open ${name}`, title: name, on: { click: () => onOpen(tile.id) } },
        canvas, h('img', { src: api.renditionUrl(tile.id, 'thumb_150'), alt: '', width: '150', height: '150', loading: 'lazy', decoding: 'async' })));
    }));
  }).catch((error) => {
    if (signal.aborted) return;
    list.removeAttribute('aria-busy');
    box.replaceChildren(h('h3', { text: 'Similar' }), h('p', { class: 'fine', text: error.reason === 'ERROR_REASON_MEDIA_ITEM_NOT_READY' ? 'Being indexed; look again in a moment.' : error.message }));
  });
  return box;
}

function failure(item) {
  if (item.state !== 'STATE_FAILED') return null;
  const again = h('button', { type: 'button', text: 'Process it again' });
  again.addEventListener('click', async () => {
    again.disabled = true;
    try {
      await api.reprocess(item.id);
      toast('Queued once more');
    } catch (error) {
      again.disabled = false;
      toast(`Could not queue it: ${error.message}`);
    }
  });
  return h('section', { class: 'problem' }, h('h3', { text: `Could not be read: ${reason(item.failureReason)}` }),
    h('p', { text: item.failureDetail || 'No more is known.' }), h('p', { text: 'The original is kept.' }), again);
}

/** Fills the panel for an item. */
export function renderPanel(panel, item, actions) {
  const { tile, onColor, onDelete, onFolder } = actions;
  const folder = item.folder ? h('button', { type: 'button', class: 'link', text: item.folder, on: { click: () => onFolder(item.folder) } }) : '';
  const about = facts([
    ['Taken', captured(item.captureTime)],
    ['Size', [pixels(item.widthPixels, item.heightPixels), bytes(item.sizeBytes)].filter(Boolean).join('  ·  ')],
    ['Type', item.contentType],
    ['Folder', folder],
    ['Stored', storedAt(item.createTime)],
  ]);
  panel.replaceChildren(...[
    editForm(item, { onChanged: actions.onChanged }),
    failure(item),
    why(tile),
    section('About', about),
    camera(item.exif),
    colours(item, onColor),
    similar(item, actions),
    renditions(item),
    h('div', { class: 'actions' },
      h('a', { class: 'button', href: api.downloadUrl(item.id), download: item.displayName || '' }, icon('download'), h('span', { text: 'Download original' })),
      h('button', { type: 'button', class: 'danger', on: { click: onDelete } }, icon('trash'), h('span', { text: 'Delete' }))),
  ].filter(Boolean));
}
