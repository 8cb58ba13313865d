// The item view: one photo, large, beside everything known about it. A dialog, so the
// page behind it is out of reach for keyboard and screen reader until it closes.

import { $, h, iconButton, isTyping, reducedMotion } from './dom.js';
import * as api from './api.js';
import { bytes, reason } from './format.js';
import { closeItem, openItem, searchBy, update } from './state.js';
import { paint } from './thumbhash.js';
import { comparable, renderPanel } from './item_panel.js';
import { tileOf } from './query.js';

/** Width renditions in the order a browser chooses from. */
const WIDTHS = ['w640', 'w1024', 'w1920', 'main'];

export class ItemView {
  #dialog = $('#item');
  #stage = $('#item .stage');
  #panel = $('#item .panel');
  #abort = null;
  #id = '';
  #item = null;

  /** `list()` is the list on show; `onDelete(item)` asks and deletes; `onChanged(item)`. */
  constructor({ list, grid, onDelete, onChanged }) {
    Object.assign(this, { list, grid, onDelete, onChanged });
    this.#dialog.addEventListener('cancel', (event) => {
      event.preventDefault();
      closeItem();
    });
    this.#dialog.addEventListener('keydown', (event) => this.#key(event));
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog || event.target === this.#stage) closeItem();
    });
    this.#swipe();
    this.#stage.append(
      iconButton('close', 'Close', closeItem, { 'data-go': 'close', autofocus: true }),
      iconButton('left', 'Previous photo (p)', () => this.go(-1), { 'data-go': 'previous' }),
      iconButton('right', 'Next photo (n)', () => this.go(1), { 'data-go': 'next' }));
  }

  /** Makes the view show what the address says: an item, or nothing. */
  sync(id) {
    if (!id) {
      this.#close();
      return;
    }
    const morph = !this.#dialog.open && document.startViewTransition && !reducedMotion() && this.grid.cellOf(id)?.querySelector('img');
    if (!morph) {
      this.#show(id);
      return;
    }
    // The thumbnail grows into the photo.
    morph.style.viewTransitionName = 'photo';
    const transition = document.startViewTransition(() => {
      morph.style.viewTransitionName = '';
      this.#show(id);
    });
    transition.finished.catch(() => {});
    transition.ready.catch(() => {});
  }

  /** Steps through the list on show. */
  async go(step) {
    const list = this.list();
    const at = list ? list.indexOf(this.#id) : -1;
    if (at < 0) return;
    const target = at + step;
    if (target >= 0 && !list.items[target]) await list.want(target);
    const next = list.items[target];
    if (next) openItem(next.id);
  }

  #close() {
    this.#abort?.abort();
    if (!this.#dialog.open) return;
    this.#dialog.close();
    const index = this.list()?.indexOf(this.#id) ?? -1;
    this.#id = '';
    document.documentElement.classList.remove('viewing');
    // Back to where the reader is now, which n and p may have moved.
    if (index >= 0) this.grid.focusIndex(index);
  }

  async #show(id) {
    this.#abort?.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.#id = id;
    this.#item = null;
    const list = this.list();
    const at = list ? list.indexOf(id) : -1;
    const tile = at >= 0 ? list.items[at] : null;
    this.#draw(tile, null);
    this.#panel.replaceChildren(h('h2', { id: 'item-name', text: tile?.name || 'Photo' }), h('p', { class: 'fine', text: 'Loading…' }));
    $('[data-go=previous]', this.#stage).hidden = at <= 0;
    $('[data-go=next]', this.#stage).hidden = at < 0 || at + 1 >= list.length;
    if (!this.#dialog.open) {
      document.documentElement.classList.add('viewing');
      this.#dialog.showModal();
    }
    try {
      const item = await api.getItem(id, signal);
      if (signal.aborted) return;
      this.#item = item;
      this.#draw(tileOf(item), item);
      this.#render(item, tile, signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#panel.replaceChildren(h('h2', { id: 'item-name', text: tile?.name || 'Photo' }), h('p', { class: 'problem', role: 'alert', text: error.message }));
    }
  }

  #render(item, tile, signal) {
    this.#panel.scrollTop = 0;
    renderPanel(this.#panel, item, {
      tile,
      signal,
      onColor: (color) => searchBy({ color }),
      onSimilar: () => this.#similar(),
      onOpen: (id) => openItem(id),
      onDelete: () => this.#remove(),
      onFolder: (folder) => update({ folder, item: '' }, { push: true }),
      onChanged: (changed) => {
        this.#item = changed;
        this.onChanged(changed);
      },
    });
  }

  #similar() {
    if (this.#item && comparable(this.#item)) searchBy({ like: this.#id });
  }

  async #remove() {
    const item = this.#item;
    if (!item) return;
    const list = this.list();
    const at = list ? list.indexOf(item.id) : -1;
    if (!(await this.onDelete(item))) return;
    const next = at >= 0 ? list.items[Math.min(at, list.items.length - 1)] : null;
    if (next) openItem(next.id);
    else closeItem();
  }

  /** The placeholder at once, in the photo's exact shape, then the photo over it. */
  #draw(tile, item) {
    const frame = $('.frame', this.#stage);
    if (item && frame.dataset.id === item.id && frame.dataset.full) return;
    const width = tile?.width || 4;
    const height = tile?.height || 3;
    frame.dataset.id = this.#id;
    frame.style.setProperty('--ratio', String(width / height));
    frame.style.setProperty('--width', String(tile?.width || 1200));
    const canvas = h('canvas', { 'aria-hidden': 'true' });
    paint(canvas, tile?.thumbHash);
    const failed = tile?.state === 'STATE_FAILED';
    delete frame.dataset.full;
    if (!item || tile.state !== 'STATE_READY') {
      const words = failed ? `This file could not be read: ${tile.failure || reason(tile.failureReason)}` : 'Being processed…';
      frame.replaceChildren(canvas, ...(item && tile.state !== 'STATE_READY' ? [h('p', { class: 'stage-note', text: words })] : []));
      return;
    }
    frame.dataset.full = 'yes';
    if (tile.video) {
      frame.replaceChildren(canvas, h('video', { src: api.contentUrl(item.id), controls: true, preload: 'metadata', 'aria-label': tile.name }));
      return;
    }
    const sizes = (item.renditions || []).filter((rendition) => WIDTHS.includes(rendition.name));
    const set = sizes.map((rendition) => `${api.renditionUrl(item.id, rendition.name)} ${rendition.widthPixels}w`).join(', ');
    const photo = h('img', { alt: item.caption || item.displayName || 'photo', width: String(width), height: String(height), decoding: 'async', sizes: '(max-width: 820px) 100vw, calc(100vw - 380px)', srcset: set || null, src: sizes.length ? api.renditionUrl(item.id, sizes.at(-1).name) : api.contentUrl(item.id) });
    photo.addEventListener('load', () => photo.classList.add('shown'), { once: true });
    photo.addEventListener('error', () => frame.append(h('p', { class: 'stage-note', text: `The picture could not be loaded (${bytes(item.sizeBytes)}).` })), { once: true });
    frame.replaceChildren(canvas, photo);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const keys = {
      n: () => this.go(1), ArrowRight: () => this.go(1),
      p: () => this.go(-1), ArrowLeft: () => this.go(-1),
      s: () => this.#similar(),
      Delete: () => this.#remove(),
    };
    const action = keys[event.key];
    if (!action || event.target.closest('video')) return;
    event.preventDefault();
    action();
  }

  #swipe() {
    let start = null;
    this.#stage.addEventListener('touchstart', (event) => {
      start = event.touches.length === 1 ? { x: event.touches[0].clientX, y: event.touches[0].clientY } : null;
    }, { passive: true });
    this.#stage.addEventListener('touchend', (event) => {
      if (!start) return;
      const dx = event.changedTouches[0].clientX - start.x;
      const dy = event.changedTouches[0].clientY - start.y;
      start = null;
      if (Math.abs(dx) > 48 && Math.abs(dx) > 2 * Math.abs(dy)) this.go(dx < 0 ? 1 : -1);
    }, { passive: true });
  }
}
