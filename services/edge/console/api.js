// Every call the console makes to the edge. Errors arrive as RFC 9457 problems and
// leave as ApiError, whose message is a sentence for people.

/** A refused or failed call. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.name = 'ApiError';
    this.status = status;
    this.reason = problem.reason || '';
    this.traceId = problem.trace_id || '';
    this.retryAfterSeconds = Number(problem.retry_after_seconds) || 0;
  }

  /** Whether the same call may succeed later. */
  get transient() {
    return this.status === 0 || this.status === 429 || this.status === 503 || this.status === 504;
  }
}

/** What the cookie's session is, once it was asked for. */
let session = null;
/** Whose page this is: who the first session was of. */
let owner = null;

/**
 * The session that the page was opened with, {session, csrfToken}; null without one: its
 * cookie cannot be seen here, so the page says that there is one.
 */
export async function currentSession() {
  if (!document.body.hasAttribute('data-session')) return null;
  session ??= call('GET', '/api/session').then((found) => {
    owner ??= found.session;
    return found;
  }).catch((error) => {
    session = null;
    throw error;
  });
  return session;
}

/** The session, if it is of whose page this is; else nothing is changed, and the page becomes the other's. */
async function ownSession() {
  const found = await currentSession();
  if (!found || sameUser(owner, found.session)) return found;
  begin(0);
  throw new ApiError(403, { detail: 'somebody else has logged in; nothing was changed' });
}

/** Ends the session. */
export const logOut = () => call('DELETE', '/api/session');

/**
 * Makes a call that changes something: `send(token)`. Where the same user logged in anew in
 * another tab, the token is another now; where another did, nothing is done in their name, and
 * the page becomes theirs.
 */
async function changing(send) {
  const before = await ownSession();
  try {
    return await send(before?.csrfToken);
  } catch (error) {
    if (!before || error.reason !== 'ERROR_REASON_CSRF_REJECTED') throw error;
    session = null;
    return send((await ownSession())?.csrfToken);
  }
}

/** Keys open sessions, and a key is of one tenant: users of two have the same name by chance only. */
const sameUser = (one, other) => one.userId === other.userId && one.apiKeyId === other.apiKeyId;

let leaving = false;

/** Loads the page anew; not if that was done less than `pauseMs` ago and changed nothing. */
function begin(pauseMs) {
  const last = Number(sessionStorage.getItem('begun')) || 0;
  if (leaving || Date.now() - last < pauseMs) return;
  leaving = true;
  sessionStorage.setItem('begun', String(Date.now()));
  location.reload();
}

/** Where a session is over the page to log in comes; where it is not, loading again is no help. */
const ENDED_PAUSE_MS = 30_000;

/** The error of a refusal. */
function refusal(status, problem) {
  if (status === 401 && document.body.hasAttribute('data-session')) begin(ENDED_PAUSE_MS);
  return new ApiError(status, problem);
}

function call(method, path, options = {}) {
  if (method === 'GET') return request(method, path, options);
  return changing((token) => request(method, path, { ...options, token }));
}

async function request(method, path, { query, body, signal, type, token }) {
  const url = query ? `${path}?${query}` : path;
  const headers = { accept: 'application/json' };
  if (token) headers['x-csrf-token'] = token;
  let payload;
  if (body instanceof Blob) {
    headers['content-type'] = type || body.type || 'application/octet-stream';
    payload = body;
  } else if (body !== undefined) {
    headers['content-type'] = 'application/json';
    payload = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, { method, headers, body: payload, signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, { detail: 'mediamesh does not answer' });
  }
  if (response.status === 204) return null;
  if (response.ok) return response.json();
  throw refusal(response.status, await response.json().catch(() => ({})));
}

const item = (id) => `/v1/mediaItems/${encodeURIComponent(id)}`;

export const listItems = (query, signal) => call('GET', '/v1/mediaItems', { query, signal });
export const search = (request, signal) => call('POST', '/v1/mediaItems:search', { body: request, signal });
/** What the user or others searched for that starts so. */
export const suggest = (prefix, signal) => call('GET', '/v1/searches:suggest', { query: new URLSearchParams({ prefix, limit: 8 }), signal });
export const getItem = (id, signal) => call('GET', item(id), { signal });
/** Whatever changed meanwhile: what was asked is whether the photo should go. */
export const deleteItem = (id) => call('DELETE', item(id));
export const reprocess = (id) => call('POST', `${item(id)}:reprocess`, { body: {} });
export const folders = () => call('GET', '/v1/folders');
export const models = () => call('GET', '/v1/models');
export const listJobs = (query) => call('GET', '/v1/jobs', { query });
export const cancelJob = (id) => call('POST', `/v1/jobs/${encodeURIComponent(id)}:cancel`, { body: {} });
export const retryJob = (id) => call('POST', `/v1/jobs/${encodeURIComponent(id)}:retry`, { body: {} });
export const retryFailedJobs = () => call('POST', '/v1/jobs:retryFailed', { body: {} });
export const queueStats = () => call('GET', '/v1/queue/stats');

/** Searches by a picture that is not stored. */
export function searchByImage(image, request, signal) {
  const query = new URLSearchParams({ search: JSON.stringify(request) });
  return call('POST', '/v1/mediaItems:searchByImage', { query, body: image, signal });
}

/** Reads up to 1000 items; ids that are gone are left out. */
export function batchGet(ids, signal) {
  const query = new URLSearchParams(ids.map((id) => ['mediaItemIds', id]));
  return call('GET', '/v1/mediaItems:batchGet', { query, signal });
}

/** Changes the named fields; the etag guards against overwriting someone's edit. */
export function patchItem(id, fields, etag) {
  const query = new URLSearchParams({ updateMask: Object.keys(fields).join(',') });
  return call('PATCH', item(id), { query, body: { ...fields, etag } });
}

/** How many items are stored. */
export async function totalItems() {
  const page = await listItems(new URLSearchParams({ pageSize: '1' }));
  return Number(page.totalSize) || 0;
}

/** Where a rendition's bytes are. */
export const renditionUrl = (id, name) => `${item(id)}/renditions/${name}`;
export const contentUrl = (id) => `${item(id)}/content`;
export const downloadUrl = (id) => `${item(id)}/content?download=true`;

/**
 * Uploads one file as a raw body. XMLHttpRequest, because fetch cannot tell how much
 * has been sent. `onProgress` hears bytes sent. Rejects with ApiError or AbortError.
 */
export const upload = (file, options) => changing((token) => send(file, options, token));

function send(file, { folder, signal, onProgress }, token) {
  const query = new URLSearchParams({ displayName: file.name });
  if (folder) query.set('folder', folder);
  return new Promise((resolve, reject) => {
    if (signal?.aborted) throw new DOMException('upload cancelled', 'AbortError');
    const request = new XMLHttpRequest();
    request.open('POST', `/v1/mediaItems?${query}`);
    request.responseType = 'json';
    if (token) request.setRequestHeader('x-csrf-token', token);
    // The bytes decide what it is; a form type would be read as a form.
    const form = /^(multipart\/form-data|application\/json)/i;
    request.setRequestHeader('content-type', !file.type || form.test(file.type) ? 'application/octet-stream' : file.type);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      if (request.status < 300) resolve(request.response || {});
      else reject(refusal(request.status, request.response || {}));
    };
    request.onerror = () => reject(new ApiError(0, { detail: 'the connection broke while sending' }));
    request.onabort = () => reject(new DOMException('upload cancelled', 'AbortError'));
    signal?.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}
