// What was searched for. The box searches while somebody types, privately; words become a
// search of the user once they are entered, left standing, or a photo found by them is opened.
// What was searched for before completes what is being typed.

import { $, h } from './dom.js';
import { get, subscribe } from './state.js';
import { search, suggest } from './api.js';
import { FIRST_PAGE } from './query.js';

/** How long words stand before they are what was meant, in milliseconds. */
const STANDING_MS = 4000;
/** A pause in typing that counts as a wish for suggestions, in milliseconds. */
const SUGGEST_PAUSE_MS = 120;

let noted = '';
let timer = 0;

// The same words are answered by the cache: noting them costs next to nothing.
function note() {
  clearTimeout(timer);
  const query = get().q.trim();
  if (!query || query === noted) return;
  noted = query;
  // A history that lacks a search is no reason to bother anybody.
  search({ query, limit: FIRST_PAGE }).catch(() => {});
}

function startSuggesting(input, list) {
  let pause = 0;
  let abort = new AbortController();
  const ask = async () => {
    abort.abort();
    abort = new AbortController();
    const { signal } = abort;
    try {
      const answer = await suggest(input.value, signal);
      const options = (answer.suggestions || []).map(({ query }) => h('option', { value: query }));
      if (!signal.aborted) list.replaceChildren(...options);
    } catch {
      // Without suggestions the box works as well.
    }
  };
  const soon = () => {
    clearTimeout(pause);
    pause = setTimeout(ask, SUGGEST_PAUSE_MS);
  };
  input.addEventListener('input', soon);
  input.addEventListener('focus', soon);
}

/** Notes searches and suggests them. */
export function startRemembering() {
  startSuggesting($('#query'), $('#suggestions'));
  $('#search').addEventListener('submit', note);
  subscribe((now, before) => {
    if (now.item && !before.item) note();
    if (now.q === before.q) return;
    clearTimeout(timer);
    timer = setTimeout(note, STANDING_MS);
  });
}
