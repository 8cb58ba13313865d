// Wires the page together: state in the address -> list of items -> grid, and the
// panels around it.

import { $, announce, confirmDialog, toast } from './dom.js';
import * as api from './api.js';
import * as state from './state.js';
import { isBrowse, pagesOf, tileOf } from './query.js';
import { PageSource } from './source.js';
import { Grid } from './grid.js';
import { ItemView } from './item.js';
import { renderFilters } from './filters.js';
import { startJobs } from './jobs.js';
import { startRemembering } from './remember.js';
import { startSearchBox } from './search.js';
import { startSession } from './session.js';
import { startDrop } from './drop.js';
import { startUploads } from './upload_panel.js';
import { startKeyboard } from './keyboard.js';
import { PendingWatch } from './pending.js';
import { Status } from './status.js';
import { showEmpty, showExplanation, showNotice, showSummary } from './results.js';

let source = null;
let shown = null;

const grid = new Grid($('#grid'), { onOpen: (item) => state.openItem(item.id), onDelete: remove });
const pending = new PendingWatch(() => shown, grid);
const status = new Status({ onGrown: offerNew, onModels: () => shown && paint(shown), onBack: () => source.error && source.retry() });
const view = new ItemView({ list: () => shown, grid, onDelete: remove, onChanged: changed });
const uploads = startUploads({ onStored: stored });

/** Starts reading the list of the current state; the old one stays until it answers. */
function load() {
  source?.close();
  const next = new PageSource(pagesOf(state.get()), (changedSource) => {
    if (changedSource !== source) return;
    paint(next);
  });
  source = next;
  document.body.classList.add('loading');
  next.want(0);
}

function paint(list) {
  const now = state.get();
  document.body.classList.remove('loading');
  $('#new-items').hidden = true;
  if (list !== shown) {
    shown = list;
    grid.show(list, { explain: now.explain });
    announce(showSummary(list, now));
  } else {
    grid.refresh();
    showSummary(list, now);
  }
  showNotice(list, { onRetry: () => list.retry() });
  showExplanation(list, now);
  showEmpty(list, now, { hint: status.hint, onPick: () => uploads.pick() });
  pending.poke();
  status.setBase(isBrowse(now) && !now.failed && !now.folder && !now.kind && !now.tags.length ? list.total : undefined);
}

/** Others (an import, another tab) added items while we browse. */
function offerNew(added) {
  if (!shown || shown.length === 0) {
    load();
    return;
  }
  const button = $('#new-items');
  button.textContent = added === 1 ? 'Show 1 new photo' : `Show ${added} new photos`;
  button.hidden = false;
}

function stored(item, duplicate) {
  status.poke();
  const now = state.get();
  if (duplicate) return;
  const fits = isBrowse(now) && !now.failed && now.order !== 'oldest' && !now.folder && !now.tags.length && !now.kind;
  if (!fits || !shown) return;
  if (shown.prepend(tileOf(item))) {
    status.setBase(shown.total);
    grid.refresh();
    showSummary(shown, now);
    showEmpty(shown, now, {});
    pending.poke();
  }
}

function changed(item) {
  if (shown && shown.replace(tileOf(item)) >= 0) grid.refresh();
}

async function remove(item) {
  const yes = await confirmDialog({
    title: `Delete ${item.name || item.displayName || 'this photo'}?`,
    body: 'The original, its renditions and its place in the index are removed for good.',
    action: 'Delete',
  });
  if (!yes) return false;
  try {
    await api.deleteItem(item.id);
  } catch (error) {
    toast(`Could not delete: ${error.message}`);
    return false;
  }
  const index = shown?.remove(item.id) ?? -1;
  status.setBase(shown?.total);
  if (index >= 0) {
    grid.refresh();
    showSummary(shown, state.get());
    showEmpty(shown, state.get(), { hint: status.hint, onPick: () => uploads.pick() });
    if (!state.get().item) grid.focusIndex(index);
  }
  toast(`Deleted ${item.name || item.displayName}`);
  status.poke();
  return true;
}

state.subscribe((now, before) => {
  if (state.listKey(now) !== state.listKey(before)) load();
  if (now.item !== before.item) view.sync(now.item);
  renderFilters(now);
});

$('#new-items').addEventListener('click', () => {
  scrollTo({ top: 0 });
  load();
});
$('#show-failed').addEventListener('click', () => state.searchBy({ failed: true, color: '', orientation: '', from: '', to: '' }));
$('h1 a').addEventListener('click', (event) => {
  if (event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  state.clear();
});

startSearchBox({ grid });
startRemembering();
startDrop({ onUpload: (files) => uploads.add(files), onSearch: (blob, name) => state.setImage({ blob, name }) });
startKeyboard({ grid, uploads });
startSession();
startJobs({ onOpenItem: state.openItem, onChanged: () => status.poke() });
renderFilters(state.get());
load();
status.start();
if (state.get().item) view.sync(state.get().item);
