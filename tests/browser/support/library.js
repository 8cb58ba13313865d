// The library behind the page, over the same HTTP interface: to store what a test
// needs, to check what the page claims, and to clean up.

import assert from 'node:assert/strict';
import { base } from './browser.js';

async function call(method, path, { body, type, expect = [200, 201] } = {}) {
  const response = await fetch(new URL(path, base), { method, body, headers: type ? { 'content-type': type } : {} });
  const answer = await response.json().catch(() => ({}));
  assert.ok(expect.includes(response.status), `${method} ${path} answered ${response.status}: ${answer.detail ?? ''}`);
  return answer;
}

/** Calls `probe` until it answers something true. */
export async function until(probe, what, timeoutMs = 20_000) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    assert.ok(Date.now() < end, `gave up waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

export const getItem = (id, expect = [200]) => call('GET', `/v1/mediaItems/${id}`, { expect });
export const removeItem = (id) => call('DELETE', `/v1/mediaItems/${id}`, { expect: [200, 404] });
export const listItems = (query = 'pageSize=100') => call('GET', `/v1/mediaItems?${query}`);
export const total = async () => Number((await listItems('pageSize=1')).totalSize ?? 0);

/** Changes fields as somebody else would. */
export const patchItem = (id, fields) => call('PATCH', `/v1/mediaItems/${id}?updateMask=${Object.keys(fields)}`, { body: JSON.stringify(fields), type: 'application/json' });

/** Stores a file and waits until the worker has ended in one of `states`. */
export async function store(bytes, name, { states = ['STATE_READY'], type = 'image/jpeg' } = {}) {
  const answer = await call('POST', `/v1/mediaItems?displayName=${encodeURIComponent(name)}`, { body: bytes, type });
  const { id } = answer.mediaItem;
  return until(async () => {
    const item = await getItem(id);
    return states.includes(item.state) ? item : null;
  }, `${name} to become ${states}`);
}

/** Waits until an item is found by an example search, that is, has its vectors. */
export async function searchable(id) {
  await until(async () => {
    const response = await fetch(new URL('/v1/mediaItems:search', base), {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ examples: [{ mediaItemId: id }], limit: 2 }),
    });
    return response.ok && ((await response.json()).results ?? []).length > 0;
  }, `${id} to be indexed`);
}
