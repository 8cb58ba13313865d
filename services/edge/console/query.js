// Turns the state of the page into requests: a plain list while browsing, a search
// as soon as words, a picture, an example or a filter that only search knows is set.

import * as api from './api.js';
import { image } from './state.js';

/** Hits of the first page: few, so that they are there soon. */
export const FIRST_PAGE = 60;

/** Whether the list route can answer, which knows folder, tags, kind and state. */
export function isBrowse(state) {
  if (state.failed) return true;
  return !state.q.trim() && !state.like && !image && !state.color && !state.orientation && !state.from && !state.to;
}

/** Filters that narrow the view, as removable chips: [{label, patch}]. */
export function activeFilters(state) {
  const chips = [];
  if (state.failed) chips.push({ label: 'could not be read', patch: { failed: false } });
  if (state.kind) chips.push({ label: state.kind === 'image' ? 'photos' : 'videos', patch: { kind: '' } });
  if (state.orientation) chips.push({ label: state.orientation, patch: { orientation: '' } });
  if (state.color) chips.push({ label: state.color, color: state.color, patch: { color: '' } });
  if (state.folder) chips.push({ label: `in ${state.folder}`, patch: { folder: '' } });
  for (const tag of state.tags) chips.push({ label: `#${tag}`, patch: { tags: state.tags.filter((t) => t !== tag) } });
  if (state.from) chips.push({ label: `from ${state.from}`, patch: { from: '' } });
  if (state.to) chips.push({ label: `until ${state.to}`, patch: { to: '' } });
  return chips;
}

/** Midnight after a day; anything else goes as it is to the server, which says what is wrong with it. */
function dayAfter(day) {
  const start = Date.parse(`${day}T00:00:00Z`);
  return Number.isNaN(start) ? day : new Date(start + 86_400_000).toISOString();
}

function filterOf(state) {
  const filter = {};
  if (state.kind) filter.kinds = [state.kind];
  if (state.orientation) filter.orientations = [state.orientation];
  if (state.color) filter.color = state.color;
  if (state.folder) filter.folder = state.folder;
  if (state.tags.length) filter.tags = state.tags;
  if (state.from) filter.minTime = `${state.from}T00:00:00Z`;
  if (state.to) filter.maxTime = dayAfter(state.to);
  return filter;
}

/** The SearchMediaRequest of a state. */
export function searchRequest(state) {
  const request = {};
  if (state.q.trim()) request.query = state.q.trim();
  if (state.like) request.examples = [{ mediaItemId: state.like }];
  const filter = filterOf(state);
  if (Object.keys(filter).length) request.filter = filter;
  const relevant = request.query || request.examples || image;
  if (state.order) request.order = `ORDER_${state.order.toUpperCase()}`;
  else if (!relevant) request.order = 'ORDER_NEWEST';
  if (state.explain) request.explain = true;
  return request;
}

function listQuery(state, oldest, pageSize, pageToken) {
  const query = new URLSearchParams({ pageSize });
  if (pageToken) query.set('pageToken', pageToken);
  if (oldest) query.set('order', 'ORDER_OLDEST');
  if (state.folder) query.set('folder', state.folder);
  state.tags.forEach((tag) => query.append('tags', tag));
  if (state.kind) query.set('kind', `KIND_${state.kind.toUpperCase()}`);
  if (state.failed) query.set('state', 'STATE_FAILED');
  return query;
}

/** The little that a tile needs, whichever route it came from. */
export function tileOf(raw) {
  const video = raw.kind === 'KIND_VIDEO' || raw.kind === 'video';
  return {
    id: raw.id,
    name: raw.displayName || '',
    width: raw.widthPixels || 0,
    height: raw.heightPixels || 0,
    video,
    time: raw.captureTime || raw.createTime || '',
    thumbHash: raw.thumbHash || '',
    tags: raw.tags || [],
    // A hit has no state; a photo is ready if it has a thumbnail. Films have none.
    state: raw.state || (raw.thumbnailUrl || video ? 'STATE_READY' : 'STATE_PENDING'),
    failure: raw.failureDetail || '',
    failureReason: raw.failureReason || '',
    score: raw.score,
    parts: raw.explanation?.parts,
  };
}

/** How to read the list of a state, for PageSource: {head, tail}. */
export function pagesOf(state) {
  if (isBrowse(state)) {
    const reader = (oldest) => async (token, signal) => {
      // A small first page paints soon; large ones follow while scrolling.
      const page = await api.listItems(listQuery(state, oldest, token ? 1000 : 120, token), signal);
      return { items: (page.mediaItems || []).map(tileOf), next: page.nextPageToken || '', total: Number(page.totalSize) || 0, info: null };
    };
    const oldest = state.order === 'oldest';
    return { head: reader(oldest), tail: reader(!oldest) };
  }
  const picture = image;
  const head = async (token, signal) => {
    // What stands in the box while somebody types is no search of theirs yet; see remember.js.
    const request = { ...searchRequest(state), limit: token ? 200 : FIRST_PAGE, private: true };
    if (token) request.pageToken = token;
    const answer = picture
      ? await api.searchByImage(picture.blob, request, signal)
      : await api.search(request, signal);
    return {
      items: (answer.results || []).map(tileOf),
      next: answer.nextPageToken || '',
      total: undefined,
      info: answer,
    };
  };
  return { head };
}
