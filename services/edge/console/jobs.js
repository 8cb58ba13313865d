// The jobs dialog: what is worked on and how far it is, with a way to stop it, and what
// failed, with a way to try it again.

import { $, h } from './dom.js';
import * as api from './api.js';
import { count, plural, storedAt } from './format.js';
import { JobWatch } from './job_watch.js';

/** How often the list is read while it is open; what runs tells its own progress. */
const READ_MS = 2000;
const PAGE = 50;
const KINDS = {
  KIND_PROCESS_MEDIA: 'process', KIND_EMBED_MEDIA: 'embed', KIND_DELETE_BLOBS: 'delete files', KIND_GENERATE_IMAGE: 'generate',
  KIND_SWEEP_JOBS: 'sweep jobs', KIND_SWEEP_BLOBS: 'sweep files', KIND_CHECK_BLOBS: 'check files',
};
const STATES = {
  STATE_QUEUED: 'waiting', STATE_RUNNING: 'running', STATE_SUCCEEDED: 'done', STATE_FAILED: 'failed', STATE_CANCELLED: 'cancelled', STATE_BLOCKED: 'waits for others',
};
const words = (names, name, prefix) => names[name] ?? name.replace(prefix, '').replaceAll('_', ' ').toLowerCase();

/** What can still be stopped, and what can be tried again. */
const STOPPABLE = ['STATE_QUEUED', 'STATE_RUNNING', 'STATE_BLOCKED'];
const RETRIABLE = ['STATE_FAILED', 'STATE_CANCELLED'];

/** One line of the list. */
class Line {
  constructor(view, job) {
    this.view = view;
    this.element = h('li', {});
    this.show(job);
  }

  show(job) {
    // Buttons are made again only with another state, so that none is replaced under the mouse.
    if (this.job?.state !== job.state) this.#build(job);
    this.job = job;
    const running = job.state === 'STATE_RUNNING';
    const share = Math.round((job.progress || 0) * 100);
    this.bar.hidden = !running;
    this.bar.setAttribute('aria-valuenow', String(share));
    this.bar.firstChild.style.transform = `scaleX(${share / 100})`;
    const steps = job.progressTotal ? `${count(job.progressCurrent)} of ${count(job.progressTotal)}` : `${share} %`;
    const tries = job.attempts > 1 ? `try ${job.attempts} of ${job.maxAttempts}` : '';
    const parts = running ? [job.progressMessage, steps, tries] : [tries, storedAt(job.endTime || job.createTime)];
    this.note.textContent = parts.filter(Boolean).join(' · ');
    this.fault.textContent = job.state === 'STATE_SUCCEEDED' ? '' : job.lastError;
  }

  #build(job) {
    const { view } = this;
    const name = words(KINDS, job.kind, 'KIND_');
    this.bar = h('div', { class: 'track', role: 'progressbar', 'aria-label': `Progress of ${name}`, 'aria-valuemin': '0', 'aria-valuemax': '100' }, h('div', {}));
    this.note = h('span', { class: 'note' });
    this.fault = h('p', { class: 'fault' });
    const button = (text, what) => h('button', { type: 'button', class: 'link', text, 'aria-label': `${text}: ${name} ${job.id.slice(-4)}`, on: { click: (event) => view.change(event.currentTarget, what, job.id) } });
    this.element.dataset.state = job.state;
    this.element.dataset.id = job.id;
    this.element.replaceChildren(
      h('span', { class: 'kind', text: name }),
      h('span', { class: 'state', text: words(STATES, job.state, 'STATE_') }),
      this.note,
      h('span', { class: 'actions' },
        job.mediaItemId && job.kind !== 'KIND_DELETE_BLOBS' ? h('button', { type: 'button', class: 'link', text: 'Photo', on: { click: () => view.openPhoto(job.mediaItemId) } }) : null,
        STOPPABLE.includes(job.state) ? button('Cancel', api.cancelJob) : null,
        RETRIABLE.includes(job.state) ? button('Try again', api.retryJob) : null),
      this.bar, this.fault);
  }
}

class JobsView {
  #lines = new Map();
  #timer = 0;
  #reading = 0;
  #limit = PAGE;
  #watch = new JobWatch((job) => this.#lines.get(job.id)?.show(job));

  constructor({ onOpenItem, onChanged }) {
    Object.assign(this, { onOpenItem, onChanged });
    this.dialog = $('#jobs');
    this.list = $('ul', this.dialog);
    this.state = $('#jobs-state');
    this.line = $('#jobs-line');
    this.said = $('#jobs-said');
    this.retryAll = $('#jobs-retry');
    this.more = $('#jobs-more');
    this.dialog.addEventListener('close', () => this.#stop());
    this.state.addEventListener('change', () => {
      this.#limit = PAGE;
      this.#read();
    });
    this.more.addEventListener('click', () => {
      this.#limit += PAGE;
      this.#read();
    });
    this.retryAll.addEventListener('click', () => this.#retryAll());
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#stop() : this.#read()));
  }

  open() {
    this.said.textContent = '';
    this.dialog.showModal();
    this.#read();
  }

  openPhoto(id) {
    this.dialog.close();
    this.onOpenItem(id);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#reading += 1;
    this.#watch.follow([]);
  }

  async #read() {
    if (!this.dialog.open || document.hidden) return;
    clearTimeout(this.#timer);
    this.#reading += 1;
    const reading = this.#reading;
    const query = new URLSearchParams({ pageSize: String(Math.min(500, this.#limit)) });
    if (this.state.value) query.set('state', this.state.value);
    try {
      const [page, stats] = await Promise.all([api.listJobs(query), api.queueStats()]);
      if (reading !== this.#reading) return;
      this.#show(page, stats);
    } catch (error) {
      if (reading !== this.#reading) return;
      this.line.textContent = `${error.message}; trying again`;
    }
    this.#timer = setTimeout(() => this.#read(), READ_MS);
  }

  #show({ jobs = [], nextPageToken }, stats) {
    const lines = new Map(jobs.map((job) => {
      const line = this.#lines.get(job.id) ?? new Line(this, job);
      line.show(job);
      return [job.id, line];
    }));
    this.#lines = lines;
    const wanted = [...lines.values()].map((line) => line.element);
    if (wanted.length !== this.list.children.length || wanted.some((element, at) => element !== this.list.children[at])) this.list.replaceChildren(...wanted);
    const parts = [['waiting', Number(stats.waiting || 0) + Number(stats.delayed || 0) + Number(stats.blocked || 0)], ['running', stats.active], ['failed', stats.failed], ['done', stats.completed]];
    this.line.textContent = parts.map(([word, n]) => `${count(n)} ${word}`).join(' · ');
    const failed = Number(stats.failed || 0);
    this.retryAll.hidden = failed === 0;
    this.retryAll.textContent = `Try ${plural(failed, 'failed job')} again`;
    this.more.hidden = !nextPageToken || this.#limit >= 500;
    $('#jobs-none').hidden = jobs.length > 0;
    // What runs, and what runs next: it may be over before the list is read again.
    const inState = (state) => jobs.filter((job) => job.state === state).map((job) => job.id);
    this.#watch.follow([...inState('STATE_RUNNING'), ...inState('STATE_QUEUED').reverse()]);
  }

  async change(button, what, id) {
    button.disabled = true;
    try {
      const job = await what(id);
      this.#lines.get(id)?.show(job);
      this.said.textContent = `${words(KINDS, job.kind, 'KIND_')} ${id.slice(-4)}: ${words(STATES, job.state, 'STATE_')}`;
    } catch (error) {
      button.disabled = false;
      this.said.textContent = error.message;
    }
    this.onChanged();
    this.#read();
  }

  async #retryAll() {
    this.retryAll.disabled = true;
    try {
      const { retriedCount } = await api.retryFailedJobs();
      this.said.textContent = `${plural(retriedCount, 'job')} queued again`;
    } catch (error) {
      this.said.textContent = error.message;
    }
    this.retryAll.disabled = false;
    this.onChanged();
    this.#read();
  }
}

/** Connects the dialog to its button. */
export function startJobs(hooks) {
  const view = new JobsView(hooks);
  $('#show-jobs').addEventListener('click', () => view.open());
}
