// One cell of the grid. Tiles are pooled: a row that leaves the screen gives its tiles
// to the row that enters, so scrolling makes no garbage.

import { renditionUrl } from './api.js';
import { count, day, listName, pixels, reason } from './format.js';
import { h, icon } from './dom.js';
import { paint } from './thumbhash.js';

/** A thumbnail is asked for only if its tile stays this long, in milliseconds. */
const SETTLE_MS = 60;
const seen = new Set();
const timers = new WeakMap();

function load(tile) {
  const img = tile.img;
  if (!img.dataset.src || img.getAttribute('src')) return;
  const url = img.dataset.src;
  img.srcset = img.dataset.srcset;
  img.src = url;
}

// Threshold 0.1 and once per binding: what barely shows is not worth a request yet.
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(timers.get(target));
    if (!isIntersecting) continue;
    timers.set(target, setTimeout(() => {
      observer.unobserve(target);
      load(target.mediaTile);
    }, SETTLE_MS));
  }
}, { rootMargin: '300px 0px', threshold: 0.1 });

/** Makes an empty tile. */
export function createTile() {
  const canvas = h('canvas', { class: 'tile-hash', width: '1', height: '1', 'aria-hidden': 'true' });
  const cell = h('div', { class: 'tile', role: 'gridcell', tabindex: '-1' });
  const note = h('div', { class: 'tile-note', 'aria-hidden': 'true' });
  cell.append(canvas, note);
  const tile = { cell, canvas, note, img: null, item: null };
  cell.mediaTile = tile;
  return tile;
}

/** What a screen reader says of an item. */
export function describe(item) {
  if (!item) return 'loading';
  // In the order of what the tile shows, so that who speaks to the page can name it by what is seen.
  if (item.state === 'STATE_FAILED') return [item.name || 'unnamed', item.failure || reason(item.failureReason), 'could not be read'].join(', ');
  const parts = [item.name || 'unnamed', item.video ? 'video' : ''];
  if (item.state !== 'STATE_READY') parts.push('being processed');
  else parts.push(item.width ? `${count(item.width)} by ${count(item.height)} pixels` : '', day(item.time));
  return parts.filter(Boolean).join(', ');
}

/** Whether there is a picture to show; a film has none. */
const pictured = (item) => item.state === 'STATE_READY' && !(item.video && !item.thumbHash);

function note(item, explain) {
  if (item.state === 'STATE_FAILED') {
    return [icon('alert'), h('span', { class: 'tile-title', text: item.name }), ' ', h('span', { text: item.failure || reason(item.failureReason) })];
  }
  if (item.state !== 'STATE_READY') return [h('span', { class: 'tile-busy' }), h('span', { text: item.name })];
  if (explain && item.score !== undefined) {
    const parts = (item.parts || []).map((part) => h('li', {}, h('span', { text: listName(part.list) }), ' ', h('b', { text: `#${part.rank}` }), ' ', h('span', { text: part.score.toFixed(2) }), ' '));
    const meter = h('span', { class: 'meter' });
    meter.style.setProperty('--share', String(Math.max(0, Math.min(1, item.score))));
    return [h('span', { class: 'score', text: `score ${item.score.toFixed(3)}` }), ' ', meter, h('ul', {}, parts)];
  }
  return pictured(item) ? [] : [h('span', { class: 'tile-title', text: item.name })];
}

/** Shows an item (or a loading cell for null) in a tile. */
export function bindTile(tile, item, { index, explain, columnIndex }) {
  const { cell } = tile;
  const same = tile.item && item && tile.item.id === item.id && tile.item.state === item.state;
  tile.item = item;
  cell.dataset.index = String(index);
  cell.setAttribute('aria-colindex', String(columnIndex));
  cell.classList.toggle('failed', item?.state === 'STATE_FAILED');
  cell.classList.toggle('busy', Boolean(item) && item.state !== 'STATE_READY' && item.state !== 'STATE_FAILED');
  cell.classList.toggle('explained', explain && item?.score !== undefined);
  cell.classList.toggle('named', item?.state === 'STATE_READY' && !pictured(item) && !cell.classList.contains('explained'));
  cell.classList.toggle('video', Boolean(item?.video));
  cell.title = item ? [item.name, pixels(item.width, item.height)].filter(Boolean).join(' · ') : '';
  tile.note.replaceChildren(...(item ? note(item, explain) : []));
  // Why it was found is for those who hear the page as well.
  const why = cell.classList.contains('explained') ? `, ${tile.note.textContent.trim()}` : '';
  cell.setAttribute('aria-label', describe(item) + why);
  if (same) return;
  releaseTile(tile);
  tile.item = item;
  paint(tile.canvas, item?.thumbHash);
  if (!item || !pictured(item)) return;
  // A fresh element, because a reused one keeps showing the old picture until the new
  // one has arrived.
  const url = renditionUrl(item.id, 'thumb_300');
  const img = h('img', { class: 'tile-image', alt: '', width: '300', height: '300', decoding: 'async', draggable: 'false' });
  img.dataset.src = url;
  img.dataset.srcset = `${url} 1x, ${renditionUrl(item.id, 'thumb_600')} 2x`;
  tile.img = img;
  cell.insertBefore(img, tile.note);
  if (seen.has(item.id)) {
    img.classList.add('there');
    load(tile);
    return;
  }
  img.addEventListener('load', () => {
    seen.add(item.id);
    img.classList.add('shown');
  }, { once: true });
  img.addEventListener('error', () => cell.classList.add('no-image'), { once: true });
  observer.observe(cell);
}

/** Lets go of a tile's picture; one that has not arrived is no longer fetched. */
export function releaseTile(tile) {
  clearTimeout(timers.get(tile.cell));
  observer.unobserve(tile.cell);
  tile.cell.classList.remove('no-image');
  if (tile.img) {
    tile.img.removeAttribute('srcset');
    tile.img.removeAttribute('src');
    tile.img.remove();
    tile.img = null;
  }
  tile.item = null;
}
