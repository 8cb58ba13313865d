// A list of unknown length, read page by page as the grid asks for it. Tokens only
// lead forward, so a far jump reads the pages in between, one after another.

const RETRY_MS = [500, 1500, 4000];

export class PageSource {
  #fetchPage;
  #abort = new AbortController();
  #next = '';
  #wanted = -1;
  #running = false;
  #ids = new Set();

  /**
   * `fetchPage(token, signal)` resolves to {items, next, total, info}. `onChange(source)`
   * is called after every page and after an error.
   */
  constructor(fetchPage, onChange) {
    this.#fetchPage = fetchPage;
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

  /** Reads on until the item at `index` is there, the list ends or it fails. */
  async want(index) {
    this.#wanted = Math.max(this.#wanted, index);
    if (this.#running) return;
    this.#running = true;
    try {
      while (!this.done && !this.error && this.items.length <= this.#wanted) await this.#read();
    } finally {
      this.#running = false;
    }
  }

  /** Aims at another place: a jump that was scrolled past is not read to its end. */
  aim(index) {
    this.#wanted = index;
    return this.want(index);
  }

  /** Tries again after an error. */
  retry() {
    this.error = null;
    return this.want(Math.max(this.#wanted, 0));
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
    this.#ids.delete(id);
    if (this.total !== undefined) this.total -= 1;
    return index;
  }

  indexOf(id) {
    return this.#ids.has(id) ? this.items.findIndex((tile) => tile.id === id) : -1;
  }

  async #read() {
    const { signal } = this.#abort;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const page = await this.#fetchPage(this.#next, signal);
        if (signal.aborted) return;
        // Inserts while paging must not show an item twice.
        for (const tile of page.items) {
          if (this.#ids.has(tile.id)) continue;
          this.#ids.add(tile.id);
          this.items.push(tile);
        }
        if (!this.started) {
          this.total = page.total;
          this.info = page.info;
        }
        this.started = true;
        this.#next = page.next;
        this.done = page.next === '';
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
}
