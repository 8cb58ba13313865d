// The status line: how much is stored, what the queue does, which models are active.
// Asks often while there is work and rarely while there is none.

import { $, h, withCode } from './dom.js';
import * as api from './api.js';
import { count, modelName, plural } from './format.js';

const BUSY_MS = 1500;
const IDLE_MS = 30_000;
/** While nobody answers: short enough that a restart is seen, long enough to be no burden. */
const DOWN_MS = 4000;

export class Status {
  #timer = 0;
  #delay = BUSY_MS;
  #base = undefined;
  #total = undefined;
  #failed = 0;
  #models = null;
  #down = false;

  /** `onGrown(n)`: n items were added elsewhere. `onModels()`: the hint is known. `onBack()`: the server answers again. */
  constructor({ onGrown, onModels, onBack }) {
    Object.assign(this, { onGrown, onModels, onBack });
    document.addEventListener('visibilitychange', () => { if (!document.hidden) this.poke(); });
  }

  /** What to do to get semantic search; empty if there is a model. */
  get hint() {
    return this.#models?.hint || '';
  }

  start() {
    this.#poll();
    this.#readModels();
  }

  async #readModels() {
    try {
      this.#models = await api.models();
      this.#write();
      this.onModels();
    } catch {
      // Without this answer the line simply names no model.
    }
  }

  /** Asks soon. */
  poke() {
    this.#delay = BUSY_MS;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#poll(), 300);
  }

  /** How many items the page already knows of; undefined if it shows a selection. */
  setBase(total) {
    this.#base = total;
    if (total !== undefined) this.#total = total;
    this.#write();
  }

  async #poll() {
    clearTimeout(this.#timer);
    if (document.hidden) return; // visibilitychange asks again.
    let busy = false;
    try {
      const failedQuery = new URLSearchParams({ pageSize: '1', state: 'STATE_FAILED' });
      const [queue, total, failed] = await Promise.all([api.queueStats(), api.totalItems(), api.listItems(failedQuery)]);
      if (this.#down) {
        // A restart may have brought another model.
        this.#down = false;
        this.#readModels();
        this.onBack();
      }
      busy = Number(queue.waiting || 0) + Number(queue.active || 0) > 0;
      this.#failed = Number(failed.totalSize) || 0;
      const grown = this.#base !== undefined && total > this.#base;
      const news = this.#total !== total;
      this.#total = total;
      this.#write(queue);
      if (grown && news) this.onGrown(total - this.#base);
    } catch (error) {
      this.#down = true;
      this.#say(`${error.message}; trying again`);
    }
    this.#delay = busy ? BUSY_MS : Math.min(this.#delay * 2, this.#down ? DOWN_MS : IDLE_MS);
    this.#timer = setTimeout(() => this.#poll(), this.#delay);
  }

  #queue = null;

  #write(queue = this.#queue) {
    this.#queue = queue;
    const parts = [];
    if (this.#total !== undefined) parts.push(plural(this.#total, 'item'));
    if (queue) {
      const waiting = Number(queue.waiting || 0) + Number(queue.delayed || 0);
      const active = Number(queue.active || 0);
      parts.push(waiting + active === 0 ? 'queue idle' : `queue: ${count(waiting)} waiting, ${count(active)} active`);
    }
    if (this.#models) {
      const active = [...new Set([this.#models.textModel, this.#models.imageModel])].filter(Boolean).map(modelName);
      parts.push(active.length ? `model: ${active.join(' and ')}` : 'full text only');
    }
    this.#say(parts.join(' · ') || 'Connecting…', this.hint);
    const failed = $('#show-failed');
    failed.hidden = this.#failed === 0;
    failed.textContent = `${plural(this.#failed, 'file')} could not be read`;
  }

  #say(line, hint = '') {
    const element = $('#status');
    if (element.dataset.line === line + hint) return;
    element.dataset.line = line + hint;
    // The hint has its own element: a phone's status line has no room for it.
    element.replaceChildren(line, ...(hint ? [h('span', { class: 'hint' }, ' — ', withCode(hint))] : []));
  }
}
