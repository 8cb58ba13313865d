// The upload queue: a few files at a time, automatic retries of what may pass, manual
// ones for the rest. Knows nothing of the page.

import { upload } from './api.js';

/** Files sent at the same time: enough to hide latency, few enough to keep order. */
const PARALLEL = 3;
const RETRY_MS = [1000, 3000, 8000];

export class UploadQueue {
  #active = 0;

  /** `onChange()` after anything moved; `onStored(item, duplicate)` after a file is in. */
  constructor({ onChange, onStored }) {
    this.onChange = onChange;
    this.onStored = onStored;
    this.entries = [];
  }

  /** Queues [{file, folder}]. */
  add(files) {
    for (const { file, folder } of files) {
      this.entries.push({ file, folder, state: 'waiting', sent: 0, error: '', itemId: '', abort: null });
    }
    this.#pump();
    this.onChange();
  }

  /** Queues a failed or cancelled entry again. */
  retry(entry) {
    Object.assign(entry, { state: 'waiting', sent: 0, error: '' });
    this.#pump();
    this.onChange();
  }

  /** Stops everything that has not been stored. */
  cancel() {
    for (const entry of this.entries) {
      if (entry.state === 'waiting') entry.state = 'cancelled';
      entry.abort?.abort();
    }
    this.onChange();
  }

  /** Forgets what has ended. */
  clear() {
    this.entries = this.entries.filter((entry) => entry.state === 'waiting' || entry.state === 'sending');
    this.onChange();
  }

  /** Counts by state, and bytes. */
  totals() {
    const totals = { waiting: 0, sending: 0, stored: 0, duplicate: 0, failed: 0, cancelled: 0, sent: 0, bytes: 0 };
    for (const entry of this.entries) {
      totals[entry.state] += 1;
      if (entry.state === 'cancelled') continue;
      totals.bytes += entry.file.size;
      totals.sent += entry.state === 'waiting' || entry.state === 'sending' ? Math.min(entry.sent, entry.file.size) : entry.file.size;
    }
    return totals;
  }

  #pump() {
    for (const entry of this.entries) {
      if (this.#active >= PARALLEL) return;
      if (entry.state !== 'waiting') continue;
      this.#active += 1;
      entry.state = 'sending';
      this.#send(entry).finally(() => {
        this.#active -= 1;
        entry.abort = null;
        this.#pump();
        this.onChange();
      });
    }
  }

  async #send(entry) {
    entry.abort = new AbortController();
    const { signal } = entry.abort;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await upload(entry.file, {
          folder: entry.folder,
          signal,
          onProgress: (sent) => { entry.sent = sent; this.onChange(); },
        });
        entry.itemId = answer.mediaItem?.id || '';
        entry.state = answer.duplicateOf ? 'duplicate' : 'stored';
        if (answer.mediaItem) this.onStored(answer.mediaItem, Boolean(answer.duplicateOf));
        return;
      } catch (error) {
        if (error.name === 'AbortError') {
          entry.state = 'cancelled';
          return;
        }
        // The same bytes sent twice are stored once, so a retry is always safe.
        if (error.transient && attempt < RETRY_MS.length && !signal.aborted) {
          entry.sent = 0;
          entry.error = `${error.message}; trying again`;
          this.onChange();
          await new Promise((resolve) => setTimeout(resolve, error.retryAfterSeconds * 1000 || RETRY_MS[attempt]));
          if (!signal.aborted) continue;
        }
        entry.state = signal.aborted ? 'cancelled' : 'failed';
        entry.error = error.message;
        return;
      }
    }
  }
}
