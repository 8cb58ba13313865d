// Keys that work everywhere on the page, and the buttons that do the same.

import { $, isTyping } from './dom.js';
import { get, update } from './state.js';
import { toggleFilters } from './filters.js';

/** Goes system -> the other one -> back, and remembers what was chosen. */
function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('mediamesh.theme', root.dataset.theme); } catch { /* storage is off: not remembered */ }
}

function toggleExplain() {
  update({ explain: !get().explain });
}

function showExplainButton() {
  $('#toggle-explain').setAttribute('aria-pressed', String(get().explain));
}

/** Connects keys and tool buttons. */
export function startKeyboard({ grid, uploads }) {
  const search = () => {
    $('#query').focus();
    $('#query').select();
  };
  const help = () => $('#help').showModal();
  const keys = {
    '/': search,
    '?': help,
    f: toggleFilters,
    e: () => { toggleExplain(); showExplainButton(); },
    t: toggleTheme,
    u: () => uploads.pick(),
    j: () => $('#show-jobs').click(),
    ArrowDown: () => grid.focusActive(),
  };
  addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape' && !$('#filters').hidden) {
      toggleFilters();
      $('#toggle-filters').focus();
      return;
    }
    // An arrow on a button or on the page's body enters the grid.
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  $('#toggle-filters').addEventListener('click', toggleFilters);
  $('#toggle-explain').addEventListener('click', keys.e);
  $('#toggle-theme').addEventListener('click', toggleTheme);
  $('#show-help').addEventListener('click', help);
  $('#add-photos').addEventListener('click', () => uploads.pick());
  showExplainButton();
}
