// Follows jobs by server-sent events, so that their progress is seen as it happens.

/** A browser opens six connections to a host over HTTP/1.1, and the page needs some itself. */
const MOST = 3;
const ENDED = ['STATE_SUCCEEDED', 'STATE_FAILED', 'STATE_CANCELLED'];

export class JobWatch {
  #sources = new Map();

  /** `onJob(job)`: what a job is now. */
  constructor(onJob) {
    this.onJob = onJob;
  }

  /** Follows the first few of these ids and no others. */
  follow(ids) {
    const wanted = new Set(ids.slice(0, MOST));
    for (const id of [...this.#sources.keys()]) if (!wanted.has(id)) this.#end(id);
    for (const id of wanted) if (!this.#sources.has(id)) this.#begin(id);
  }

  #begin(id) {
    const source = new EventSource(`/v1/jobs/${encodeURIComponent(id)}:watch`);
    this.#sources.set(id, source);
    source.addEventListener('message', (event) => {
      const { job } = JSON.parse(event.data);
      this.onJob(job);
      if (ENDED.includes(job.state)) this.#end(id);
    });
    // Else it would connect anew, and hear the same again. The list is read anyway.
    for (const name of ['end', 'error']) source.addEventListener(name, () => this.#end(id));
  }

  #end(id) {
    this.#sources.get(id)?.close();
    this.#sources.delete(id);
  }
}
