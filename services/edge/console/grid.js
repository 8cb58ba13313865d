// The photo grid: square cells in rows of equal height, so the place of every item is
// known before it is loaded and nothing ever moves. Only rows near the screen exist in
// the document, whatever the length of the list.

import { bindTile, createTile, releaseTile } from './tile.js';
import { h } from './dom.js';

/** Rows kept beyond each edge of the screen, so a flick finds them ready. */
const OVERSCAN_ROWS = 3;
/** Items asked for beyond the last visible one. */
const READ_AHEAD = 60;
/** Widest a cell may get, in CSS pixels; four to a row on a common window. */
const CELL_PIXELS = 345;
const GAP_PIXELS = 6;
/** Rows kept for reuse. */
const POOL_ROWS = 24;

export class Grid {
  #root;
  #rows = new Map();
  #pool = [];
  #source = null;
  #frame = 0;
  #active = 0;
  #explain = false;
  #measure = { columns: 4, cell: 200, left: 0 };

  /** `root` gets role grid. `onOpen(item)` and `onDelete(item)` hear the keyboard and clicks. */
  constructor(root, { onOpen, onDelete }) {
    this.#root = root;
    this.onOpen = onOpen;
    this.onDelete = onDelete;
    root.addEventListener('click', (event) => this.#click(event));
    root.addEventListener('keydown', (event) => this.#key(event));
    root.addEventListener('focusin', (event) => {
      const cell = event.target.closest('[role=gridcell]');
      if (cell) this.#setActive(Number(cell.dataset.index));
    });
    addEventListener('scroll', () => this.#schedule(), { passive: true });
    new ResizeObserver(() => this.#resize()).observe(root);
  }

  /** Shows another list from its top, or the same one where it stands. */
  show(source, { explain = false } = {}) {
    this.#explain = explain;
    const held = this.#root.contains(document.activeElement);
    if (source !== this.#source) {
      this.#source = source;
      this.#active = 0;
      this.#clear();
      if (scrollY > this.#top()) scrollTo({ top: 0, behavior: 'instant' });
    }
    this.#resize();
    // The keyboard was on a photo that is gone: it goes to the best of the new ones.
    if (held && !this.#root.contains(document.activeElement)) this.focusIndex(0);
  }

  /** Draws again what is on screen, after items changed. */
  refresh() {
    this.#layout();
    this.#render(true);
  }

  get columns() {
    return this.#measure.columns;
  }

  /** Items on screen or next to it. */
  visibleItems() {
    return [...this.#rows.values()].flatMap((row) => row.tiles.map((tile) => tile.item)).filter(Boolean);
  }

  /** Brings a cell into view and gives it the keyboard. */
  focusIndex(index, { focus = true } = {}) {
    const last = (this.#source?.length ?? 0) - 1;
    if (last < 0) return;
    this.#setActive(Math.max(0, Math.min(index, last)));
    const { columns, cell } = this.#measure;
    const pitch = cell + GAP_PIXELS;
    const top = this.#top() + Math.floor(this.#active / columns) * pitch;
    const head = document.querySelector('header').offsetHeight + GAP_PIXELS;
    const foot = document.querySelector('footer').offsetHeight + GAP_PIXELS;
    if (top < scrollY + head) scrollTo({ top: top - head, behavior: 'instant' });
    else if (top + cell > scrollY + innerHeight - foot) scrollTo({ top: top + cell - innerHeight + foot, behavior: 'instant' });
    this.#render();
    if (focus) this.#cellAt(this.#active)?.focus({ preventScroll: true });
  }

  focusActive() {
    this.focusIndex(this.#active);
  }

  /** The cell of an item, if it is in the document. */
  cellOf(id) {
    for (const row of this.#rows.values()) {
      const tile = row.tiles.find((candidate) => candidate.item?.id === id);
      if (tile) return tile.cell;
    }
    return null;
  }

  #top() {
    return this.#root.getBoundingClientRect().top + scrollY;
  }

  #resize() {
    // Laid out first: a hidden grid has no width to measure.
    this.#layout();
    const width = this.#root.clientWidth;
    const columns = Math.max(width < 480 ? 3 : 4, Math.ceil(width / CELL_PIXELS));
    const cell = Math.floor((width - GAP_PIXELS * (columns - 1)) / columns);
    if (cell <= 0) return;
    const changed = columns !== this.#measure.columns || cell !== this.#measure.cell;
    // Keep what was at the top of the screen at the top.
    const first = Math.max(0, Math.floor((scrollY - this.#top()) / (this.#measure.cell + GAP_PIXELS))) * this.#measure.columns;
    this.#measure = { columns, cell };
    this.#root.style.setProperty('--cell', `${cell}px`);
    if (changed) this.#clear();
    this.#layout();
    if (changed && first > 0) scrollTo({ top: this.#top() + Math.floor(first / columns) * (cell + GAP_PIXELS), behavior: 'instant' });
    this.#render(true);
  }

  #layout() {
    const length = this.#source?.length ?? 0;
    const { columns, cell } = this.#measure;
    const rows = Math.ceil(length / columns);
    this.#root.style.height = `${Math.max(0, rows * (cell + GAP_PIXELS) - GAP_PIXELS)}px`;
    this.#root.setAttribute('aria-rowcount', String(rows));
    this.#root.setAttribute('aria-colcount', String(columns));
    this.#root.hidden = length === 0;
  }

  #schedule() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #render(rebind = false) {
    const source = this.#source;
    if (!source) return;
    const { columns, cell } = this.#measure;
    const pitch = cell + GAP_PIXELS;
    const rowCount = Math.ceil(source.length / columns);
    const offset = scrollY - this.#top();
    const first = Math.max(0, Math.floor(offset / pitch) - OVERSCAN_ROWS);
    const last = Math.min(rowCount - 1, Math.ceil((offset + innerHeight) / pitch) + OVERSCAN_ROWS);
    const activeRow = Math.floor(this.#active / columns);
    for (const [index, row] of this.#rows) {
      // The row with the keyboard stays, or focus would fall back to the page.
      const held = index === activeRow && row.element.contains(document.activeElement);
      if ((index < first || index > last) && !(held && index < rowCount)) this.#drop(index, row);
    }
    for (let index = first; index <= last; index += 1) {
      const row = this.#rows.get(index);
      if (!row) this.#add(index);
      else if (rebind || row.waiting) this.#bind(row, index);
    }
    if (last >= 0) source.aim(first * columns, Math.min(source.length - 1, (last + 1) * columns + READ_AHEAD));
  }

  #add(index) {
    const { columns, cell } = this.#measure;
    const row = this.#pool.pop() ?? { element: h('div', { class: 'row', role: 'row' }), tiles: [], waiting: true };
    while (row.tiles.length < columns) {
      const tile = createTile();
      row.tiles.push(tile);
      row.element.append(tile.cell);
    }
    row.element.setAttribute('aria-rowindex', String(index + 1));
    row.element.style.transform = `translateY(${index * (cell + GAP_PIXELS)}px)`;
    this.#rows.set(index, row);
    // In reading order in the document as well, for screen readers.
    let after = Infinity;
    for (const other of this.#rows.keys()) if (other > index && other < after) after = other;
    this.#root.insertBefore(row.element, this.#rows.get(after)?.element ?? null);
    this.#bind(row, index);
  }

  #bind(row, rowIndex) {
    row.waiting = false;
    row.tiles.forEach((tile, column) => {
      const index = rowIndex * this.#measure.columns + column;
      const inside = index < this.#source.length;
      tile.cell.hidden = !inside;
      const item = inside ? this.#source.items[index] ?? null : null;
      if (inside && !item) row.waiting = true;
      bindTile(tile, item, { index, explain: this.#explain, columnIndex: column + 1 });
      tile.cell.tabIndex = index === this.#active ? 0 : -1;
    });
  }

  #drop(index, row) {
    this.#rows.delete(index);
    row.element.remove();
    row.tiles.forEach(releaseTile);
    if (this.#pool.length < POOL_ROWS && row.tiles.length === this.#measure.columns) this.#pool.push(row);
  }

  #clear() {
    for (const [index, row] of this.#rows) this.#drop(index, row);
    this.#pool = [];
  }

  #cellAt(index) {
    const row = this.#rows.get(Math.floor(index / this.#measure.columns));
    return row?.tiles[index % this.#measure.columns]?.cell;
  }

  #setActive(index) {
    const before = this.#cellAt(this.#active);
    if (before) before.tabIndex = -1;
    this.#active = index;
    const now = this.#cellAt(index);
    if (now) now.tabIndex = 0;
  }

  #click(event) {
    const cell = event.target.closest('[role=gridcell]');
    const item = cell?.mediaTile.item;
    if (!item) return;
    this.#setActive(Number(cell.dataset.index));
    this.onOpen(item);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      if (!(event.ctrlKey && (event.key === 'Home' || event.key === 'End'))) return;
    }
    const { columns, cell } = this.#measure;
    const page = Math.max(1, Math.floor(innerHeight / (cell + GAP_PIXELS)) - 1) * columns;
    const rowStart = this.#active - (this.#active % columns);
    const moves = {
      ArrowRight: this.#active + 1,
      ArrowLeft: this.#active - 1,
      ArrowDown: this.#active + columns,
      ArrowUp: this.#active - columns,
      PageDown: this.#active + page,
      PageUp: this.#active - page,
      Home: event.ctrlKey ? 0 : rowStart,
      End: event.ctrlKey ? this.#source.length - 1 : rowStart + columns - 1,
    };
    const item = this.#source.items[this.#active];
    if (event.key in moves) {
      const target = moves[event.key];
      if (event.key === 'ArrowUp' && target < 0) document.querySelector('#query').focus();
      else this.focusIndex(target);
    } else if ((event.key === 'Enter' || event.key === ' ') && item) this.onOpen(item);
    else if (event.key === 'Delete' && item) this.onDelete(item);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
