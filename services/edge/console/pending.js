// Follows items on screen that a worker has not finished, until they can be shown.

import * as api from './api.js';
import { tileOf } from './query.js';

const FIRST_MS = 700;
const LONGEST_MS = 8000;

export class PendingWatch {
  #timer = 0;
  #delay = FIRST_MS;

  constructor(list, grid) {
    this.list = list;
    this.grid = grid;
    addEventListener('scroll', () => { if (!this.#timer) this.#schedule(FIRST_MS); }, { passive: true });
  }

  /** Looks soon: something new may be waiting. */
  poke() {
    this.#delay = FIRST_MS;
    this.#schedule(FIRST_MS);
  }

  #schedule(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), delay);
  }

  async #look() {
    this.#timer = 0;
    const waiting = this.grid.visibleItems().filter((item) => item.state === 'STATE_PENDING' || item.state === 'STATE_PROCESSING');
    if (waiting.length === 0) return;
    let changed = false;
    try {
      const { mediaItems = [] } = await api.batchGet(waiting.slice(0, 200).map((item) => item.id));
      for (const raw of mediaItems) {
        const tile = tileOf(raw);
        const before = waiting.find((item) => item.id === tile.id);
        if (before && before.state !== tile.state) changed = this.list()?.replace(tile) >= 0 || changed;
      }
    } catch {
      // The status line tells of outages; the next look comes later.
    }
    if (changed) this.grid.refresh();
    this.#delay = changed ? FIRST_MS : Math.min(this.#delay * 1.6, LONGEST_MS);
    this.#schedule(this.#delay);
  }
}
