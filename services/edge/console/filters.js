// The filter panel under the search box.

import { $, h, swatch } from './dom.js';
import { count } from './format.js';
import * as api from './api.js';
import { get, update } from './state.js';

const COLORS = [
  ['#d33a2f', 'red'], ['#e8862e', 'orange'], ['#e9c63a', 'yellow'], ['#5fa04a', 'green'], ['#2a9d8f', 'teal'],
  ['#3d7fd1', 'blue'], ['#7a55c7', 'purple'], ['#d973a8', 'pink'], ['#8a5a3b', 'brown'], ['#f4f2ee', 'white'],
  ['#8f8f94', 'grey'], ['#1c1c20', 'black'],
];

let built = false;
let folderSelect;
let tagInput;

const push = (patch) => update(patch, { push: true });

function choices(label, field, options) {
  return h('fieldset', { class: 'segmented', 'data-field': field }, h('legend', { text: label }),
    options.map(([value, text]) => h('button', { type: 'button', 'data-value': value, 'aria-pressed': 'false', text, on: { click: () => push({ [field]: value }) } })));
}

function dateField(label, field) {
  return h('label', { class: 'field' }, h('span', { text: label }),
    h('input', { type: 'date', 'data-date': field, on: { change: (event) => push({ [field]: event.target.value }) } }));
}

function addTag() {
  const tag = tagInput.value.trim().replace(/^#/, '');
  tagInput.value = '';
  if (tag && !get().tags.includes(tag)) push({ tags: [...get().tags, tag] });
}

function build(root) {
  built = true;
  folderSelect = h('select', { on: { change: (event) => push({ folder: event.target.value }) } }, h('option', { value: '', text: 'Any folder' }));
  tagInput = h('input', { type: 'text', placeholder: 'Add a tag', maxlength: '63', autocomplete: 'off', on: {
    keydown: (event) => { if (event.key === 'Enter' || event.key === ',') { event.preventDefault(); addTag(); } },
    change: addTag,
  } });
  const swatches = COLORS.map(([hex, name]) => swatch(hex, name, { 'data-color': hex, 'aria-pressed': 'false' }));
  swatches.forEach((button, index) => button.addEventListener('click', () => push({ color: get().color === COLORS[index][0] ? '' : COLORS[index][0] })));
  root.append(
    choices('Kind', 'kind', [['', 'All'], ['image', 'Photos'], ['video', 'Videos']]),
    choices('Shape', 'orientation', [['', 'Any'], ['landscape', 'Landscape'], ['portrait', 'Portrait'], ['square', 'Square']]),
    choices('Order', 'order', [['', 'Best'], ['newest', 'Newest'], ['oldest', 'Oldest']]),
    h('fieldset', { class: 'swatches' }, h('legend', { text: 'Colour' }), swatches),
    h('label', { class: 'field' }, h('span', { text: 'Folder' }), folderSelect),
    h('label', { class: 'field' }, h('span', { text: 'Tags' }), tagInput),
    dateField('Taken from', 'from'),
    dateField('Taken until', 'to'));
  fillFolders();
}

async function fillFolders() {
  let folders = [];
  try {
    folders = (await api.folders()).folders || [];
  } catch {
    return; // The list of folders is a convenience; the notice line tells of outages.
  }
  const options = folders.filter((folder) => folder.path)
    .map((folder) => h('option', { value: folder.path, text: `${folder.path} (${count(folder.mediaItemCount)})` }));
  folderSelect.append(...options);
  folderSelect.value = get().folder;
}

/** Shows the state in the panel; builds it when it is first opened. */
export function renderFilters(state) {
  const root = $('#filters');
  if (!built) {
    if (root.hidden) return;
    build(root);
  }
  for (const group of root.querySelectorAll('[data-field]')) {
    for (const button of group.querySelectorAll('button')) button.setAttribute('aria-pressed', String(state[group.dataset.field] === button.dataset.value));
  }
  for (const button of root.querySelectorAll('[data-color]')) button.setAttribute('aria-pressed', String(state.color === button.dataset.color));
  for (const input of root.querySelectorAll('[data-date]')) input.value = state[input.dataset.date];
  if (state.folder && ![...folderSelect.options].some((option) => option.value === state.folder)) folderSelect.append(h('option', { value: state.folder, text: state.folder }));
  folderSelect.value = state.folder;
}

/** Opens or closes the panel. */
export function toggleFilters() {
  const root = $('#filters');
  root.hidden = !root.hidden;
  $('#toggle-filters').setAttribute('aria-expanded', String(!root.hidden));
  renderFilters(get());
  if (!root.hidden) root.querySelector('button').focus();
}
