// What stands around the grid: how many were found and how fast, notices, the steps
// of an explained search, and what to do when there is nothing to see.

import { $, h, icon, iconButton, swatch, withCode } from './dom.js';
import { count, durationMs, elapsed, modelName, plural } from './format.js';
import { activeFilters, isBrowse } from './query.js';
import { clear, image, update } from './state.js';

function sentence(list, state) {
  if (isBrowse(state)) {
    const noun = state.failed ? 'file that could not be read' : state.kind === 'video' ? 'video' : 'photo';
    const many = state.failed ? 'files that could not be read' : `${noun}s`;
    return list.total ? plural(list.total, noun, many) : '';
  }
  const found = list.items.length;
  if (list.error && found === 0) return '';
  if (!list.done) return `More than ${count(found)} results`;
  return found === 0 ? 'No results' : plural(found, 'result');
}

/** Writes the result line and the filter chips; returns the sentence to announce. */
export function showSummary(list, state) {
  const words = sentence(list, state);
  const line = $('#result-line');
  line.replaceChildren(h('span', { class: 'found', text: words }));
  if (list.info) {
    const facts = [elapsed(durationMs(list.info.timings?.total))];
    if (list.info.fromCache) facts.push('from cache');
    if (list.info.models?.length) facts.push(list.info.models.map(modelName).join(', '));
    line.append(h('span', { class: 'facts', text: facts.join(' · ') }));
  }
  const chips = activeFilters(state).map(({ label, color, patch }) => h('li', { class: 'chip' },
    color && /^#/.test(color) ? swatchDot(color) : null,
    h('span', { text: label }),
    iconButton('close', `Remove filter: ${label}`, () => update(patch, { push: true }))));
  if (chips.length > 1) chips.push(h('li', {}, h('button', { type: 'button', class: 'link', text: 'Clear all', on: { click: clear } })));
  $('#chips').replaceChildren(...chips);
  $('#chips').hidden = chips.length === 0;
  return words;
}

function swatchDot(color) {
  const dot = swatch(color, color, { tabindex: '-1', disabled: true, 'aria-hidden': 'true' });
  return dot;
}

/** Says what went wrong, or what the answer was made without. */
export function showNotice(list, { onRetry }) {
  const box = $('#notice');
  const parts = [];
  if (list.error) {
    // What the server refused is for the reader to change; the rest may pass, or is for its log.
    const refused = list.error.status >= 400 && list.error.status < 500 && !list.error.transient;
    const trace = list.error.traceId && !refused ? ` (trace ${list.error.traceId})` : '';
    parts.push(icon('alert'), h('span', { text: `${list.error.message}${trace}` }),
      refused ? null : h('button', { type: 'button', class: 'link', text: 'Try again', on: { click: onRetry } }));
  } else if (list.info?.degraded) {
    const why = (list.info.degradedReasons || []).join('; ') || 'a part of the system is down';
    parts.push(icon('alert'), h('span', { text: `These results are incomplete: ${why}.` }));
  }
  box.hidden = parts.length === 0;
  box.replaceChildren(...parts.filter(Boolean));
}

/** The steps of an explained search. */
export function showExplanation(list, state) {
  const box = $('#explanation');
  const explanation = state.explain ? list.info?.explanation : null;
  box.hidden = !explanation;
  if (!explanation) return;
  const timings = list.info.timings || {};
  const times = ['embed', 'fullText', 'vector', 'hydrate'].filter((name) => timings[name])
    .map((name) => `${name === 'fullText' ? 'full text' : name} ${elapsed(durationMs(timings[name]))}`);
  const plans = (explanation.vectorPlans || []).map((plan) => `${modelName(plan.model)}: ${(plan.plan || '').replaceAll('_', ' ')}, ${plural(plan.scanned || 0, 'vector')} compared`);
  const matches = Number(explanation.filterMatches ?? -1);
  box.replaceChildren(
    h('ol', {}, (explanation.steps || []).map((step) => h('li', { text: step }))),
    h('p', { text: [...plans, matches >= 0 ? `${plural(matches, 'item')} match the filter` : '', ...times].filter(Boolean).join(' · ') }));
}

function newcomer(onPick) {
  return [
    h('h2', { text: 'Your photos go here' }),
    h('p', { text: 'Drop photos or a whole folder anywhere on this page, or import a folder from a terminal:' }),
    h('p', {}, h('code', { text: 'make up DIR=~/Pictures' })),
    h('p', {}, h('button', { type: 'button', class: 'primary', on: { click: onPick } }, icon('upload'), h('span', { text: 'Choose photos' }))),
    h('p', { class: 'fine', text: 'They stay on this computer. Then search by words, by a colour, or by dropping in a picture.' }),
  ];
}

function nothing(state, hint) {
  const what = image ? 'this picture' : state.q ? `“${state.q}”` : 'these filters';
  return [
    h('h2', { text: state.failed ? 'Every file could be read' : `Nothing matches ${what}` }),
    state.q && !state.failed ? h('p', { text: 'Try fewer or other words: names, folders, tags and captions are searched.' }) : null,
    hint && state.q ? h('p', { class: 'fine' }, withCode(hint)) : null,
    h('p', {}, h('button', { type: 'button', on: { click: clear }, text: 'Show all photos' })),
  ];
}

/** Shows the empty state when the list has ended without items, hides it otherwise. */
export function showEmpty(list, state, { hint = '', onPick } = {}) {
  const box = $('#empty');
  const empty = list.done && list.items.length === 0 && !list.error;
  box.hidden = !empty;
  if (!empty) return;
  const filtered = !isBrowse(state) || activeFilters(state).length > 0;
  const parts = filtered ? nothing(state, hint) : newcomer(onPick);
  box.replaceChildren(...parts.filter(Boolean));
}
