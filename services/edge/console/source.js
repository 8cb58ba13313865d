// A list read page by page as the grid asks for it. Page tokens only lead forward, so a
// jump into the middle reads the pages before it, one after another; a list that can
// also be read backwards is read from whichever end is nearer, so the end is one page
// away. `items` then has holes between the two ends.

const RETRY_MS = [500, 1500, 4000];

export class PageSource {
  #fetchHead;
  #fetchTail;
  #abort = new AbortController();
  /** Tokens of the two ends; the tail's is null until it is first read. */
  #nextHead = '';
  #nextTail = null;
  /** How many items are known without a hole from each end. */
  #head = 0;
  #tail = 0;
  #range = [0, -1];
  #running = false;
  #ids = new Set();

  /**
   * `head(token, signal)` resolves to {items, next, total, info}; `tail` does the same in
   * reverse order, or is null. `onChange(source)` is called after every page and error.
   */
  constructor({ head, tail = null }, onChange) {
    this.#fetchHead = head;
    this.#fetchTail = tail;
    this.onChange = onChange;
    this.items = [];
    this.total = undefined;
    this.done = false;
    this.started = false;
    this.error = null;
    /** The first search answer, without its hits; null while browsing. */
    this.info = null;
  }

  /** How many cells the grid should lay out now. */
  get length() {
    if (this.done) return this.items.length;
    if (this.total !== undefined) return Math.max(this.total, this.items.length);
    return this.items.length + (this.started ? 60 : 0);
  }

  /** Reads until the items from `first` to `last` are there, or the list ends or fails. */
  async aim(first, last) {
    // Only the latest aim counts: what was scrolled past is not read to its end.
    this.#range = [first, last];
    if (this.#running) return;
    this.#running = true;
    try {
      for (let end = this.#nearerEnd(); end; end = this.#nearerEnd()) await this.#read(end);
    } finally {
      this.#running = false;
    }
  }

  /** Reads until the item at `index` is there. */
  want(index) {
    return this.aim(index, index);
  }

  /** Which end to read from next: "head", "tail", or "" if nothing is missing. */
  #nearerEnd() {
    if (this.done || this.error) return '';
    if (!this.started) return 'head';
    const [first, last] = this.#range;
    if (last < this.#head) return '';
    const reversible = this.#fetchTail && this.total !== undefined;
    if (!reversible) return 'head';
    const tailStart = this.total - this.#tail;
    if (first >= tailStart) return '';
    return first >= this.#head && tailStart - first < last - this.#head ? 'tail' : 'head';
  }

  /** Tries again after an error. */
  retry() {
    this.error = null;
    return this.aim(...this.#range);
  }

  /** Stops every request of this list. */
  close() {
    this.#abort.abort();
    this.done = true;
  }

  /** Puts a new item first, unless it is there already. */
  prepend(tile) {
    if (this.#ids.has(tile.id)) return false;
    this.#ids.add(tile.id);
    this.items.unshift(tile);
    this.#head += 1;
    if (this.total !== undefined) this.total += 1;
    return true;
  }

  /** Replaces what is known about an item. Returns its place, or -1. */
  replace(tile) {
    const index = this.indexOf(tile.id);
    if (index >= 0) this.items[index] = { ...this.items[index], ...tile };
    return index;
  }

  /** Takes an item out. Returns the place it had, or -1. */
  remove(id) {
    const index = this.indexOf(id);
    if (index < 0) return -1;
    this.items.splice(index, 1);
    // Its id stays known, so that a page read before the deletion cannot bring it back.
    if (index < this.#head) this.#head -= 1;
    else this.#tail -= 1;
    if (this.total !== undefined) this.total -= 1;
    return index;
  }

  indexOf(id) {
    return this.#ids.has(id) ? this.items.findIndex((tile) => tile?.id === id) : -1;
  }

  async #read(end) {
    const { signal } = this.#abort;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const page = end === 'head' ? await this.#fetchHead(this.#nextHead, signal) : await this.#fetchTail(this.#nextTail ?? '', signal);
        if (signal.aborted) return;
        if (end === 'head') this.#takeHead(page);
        else this.#takeTail(page);
        this.onChange(this);
        return;
      } catch (error) {
        if (signal.aborted || error.name === 'AbortError') {
          this.done = true;
          return;
        }
        if (error.transient && attempt < RETRY_MS.length) {
          await new Promise((resolve) => setTimeout(resolve, error.retryAfterSeconds * 1000 || RETRY_MS[attempt]));
          if (signal.aborted) return;
          continue;
        }
        this.error = error;
        this.onChange(this);
        return;
      }
    }
  }

  #takeHead(page) {
    if (!this.started) {
      this.total = page.total;
      this.info = page.info;
    }
    this.started = true;
    this.#nextHead = page.next;
    for (const tile of page.items) {
      // Inserts while paging must not show an item twice; meeting the tail ends it.
      if (this.#ids.has(tile.id)) continue;
      this.#ids.add(tile.id);
      this.items[this.#head] = tile;
      this.#head += 1;
    }
    this.#finish(page.next === '');
  }

  #takeTail(page) {
    this.#nextTail = page.next;
    for (const tile of page.items) {
      const place = this.total - 1 - this.#tail;
      if (this.#ids.has(tile.id) || place < this.#head) continue;
      this.#ids.add(tile.id);
      this.items[place] = tile;
      this.#tail += 1;
    }
    this.#finish(page.next === '');
  }

  /** When the ends have met, closes holes left by items deleted meanwhile. */
  #finish(ended) {
    const met = this.#tail > 0 && this.#head + this.#tail >= this.total;
    if (!ended && !met) return;
    this.items = this.items.filter(() => true);
    this.done = true;
    if (this.total !== undefined) this.total = this.items.length;
  }
}
