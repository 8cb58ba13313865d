// What the page shows, kept in the address so that a link, a reload and the back
// button all bring it back. The one thing an address cannot hold is a picture given
// to search by; the steps of this visit remember theirs.

const DEFAULTS = Object.freeze({
  q: '', kind: '', orientation: '', color: '', folder: '', tags: [], from: '', to: '',
  order: '', like: '', failed: false, explain: false, item: '',
});

const listeners = new Set();
/** Pictures searched by in this visit; the last few, a step of the history names one by its number. */
const pictures = new Map();
const KEPT_PICTURES = 8;
let lastPicture = 0;
let current = read();

/** A picture searched by: {blob, name}, or null. */
export let image = null;

function read() {
  const params = new URLSearchParams(location.search);
  const state = { ...DEFAULTS, tags: params.getAll('tag'), picture: 0 };
  for (const key of Object.keys(DEFAULTS)) {
    if (typeof DEFAULTS[key] === 'string') state[key] = params.get(key) ?? '';
    if (typeof DEFAULTS[key] === 'boolean') state[key] = params.get(key) === '1';
  }
  return state;
}

function address(state) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (key === 'picture') continue;
    if (key === 'tags') value.forEach((tag) => params.append('tag', tag));
    else if (value === true) params.set(key, '1');
    else if (value) params.set(key, value);
  }
  const query = params.toString();
  return query ? `?${query}` : location.pathname;
}

/** The current state. Do not change it; call update. */
export const get = () => current;

/** Calls `listener(now, before)` after every change. */
export function subscribe(listener) {
  listeners.add(listener);
}

function publish(before) {
  for (const listener of listeners) listener(current, before);
}

/** Changes some fields. `push` makes a new step for the back button. */
export function update(patch, { push = false } = {}) {
  const before = current;
  current = { ...current, ...patch };
  const target = address(current);
  const { picture } = current;
  if (push) history.pushState({ depth: (history.state?.depth ?? 0) + 1, picture }, '', target);
  else history.replaceState({ ...history.state, picture }, '', target);
  publish(before);
}

/** Searches by a picture {blob, name}, or stops doing so with null. */
export function setImage(next) {
  image = next;
  if (next) {
    lastPicture += 1;
    pictures.set(lastPicture, next);
    pictures.delete(lastPicture - KEPT_PICTURES);
  }
  update({ picture: next ? lastPicture : 0, like: '', failed: false, item: '' }, { push: true });
}

/** Searches by `patch` instead of by words, a picture or an example. */
export function searchBy(patch) {
  image = null;
  update({ q: '', like: '', failed: false, item: '', picture: 0, ...patch }, { push: true });
}

/** Drops every filter, the words and the picture. */
export function clear() {
  image = null;
  const { explain, order } = current;
  update({ ...DEFAULTS, explain, order, picture: 0 }, { push: true });
}

/** Closes the item view: a step back if we opened it, else a change in place. */
export function closeItem() {
  if (!current.item) return;
  if (history.state?.opened) history.back();
  else update({ item: '' });
}

/** Opens the item view as a new step, or swaps the item in an open one. */
export function openItem(id) {
  const wasOpen = Boolean(current.item);
  update({ item: id }, { push: !wasOpen });
  if (!wasOpen) history.replaceState({ ...history.state, opened: true }, '');
}

/** What decides the list of hits: a change in anything else keeps the list. */
export function listKey(state) {
  const { item, ...rest } = state;
  return JSON.stringify(rest);
}

addEventListener('popstate', () => {
  const before = current;
  const picture = history.state?.picture ?? 0;
  image = pictures.get(picture) ?? null;
  current = { ...read(), picture: image ? picture : 0 };
  publish(before);
});
