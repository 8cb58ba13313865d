// Editing name, caption and tags in place. Saved with the version that was read, so
// that nobody's edit is overwritten unseen.

import { $, h, iconButton, toast } from './dom.js';
import * as api from './api.js';

/** A form for one item. `onChanged(item)` hears the saved item. */
export function editForm(item, { onChanged }) {
  let current = item;
  let tags = [...(item.tags || [])];
  const name = h('input', { type: 'text', class: 'name', id: 'edit-name', value: item.displayName || '', maxlength: '255', required: true, autocomplete: 'off', spellcheck: 'false' });
  const caption = h('textarea', { id: 'edit-caption', rows: '2', maxlength: '4096', placeholder: 'Add a caption', value: item.caption || '' });
  const tagInput = h('input', { type: 'text', id: 'edit-tag', maxlength: '63', placeholder: tags.length ? 'Add' : 'Add tags', autocomplete: 'off' });
  const tagList = h('ul', { class: 'tags', 'aria-label': 'Tags' });
  const save = h('button', { type: 'submit', class: 'primary', text: 'Save' });
  const undo = h('button', { type: 'button', text: 'Undo', on: { click: () => reset(current) } });
  const buttons = h('div', { class: 'buttons', hidden: true }, undo, save);
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  // The dialog's name: it follows the saved name, not every letter typed.
  const heading = h('h2', { id: 'item-name', class: 'quiet', text: item.displayName || 'Photo' });

  function changes() {
    const fields = {};
    if (name.value.trim() !== (current.displayName || '')) fields.displayName = name.value.trim();
    if (caption.value !== (current.caption || '')) fields.caption = caption.value;
    if (tags.join('\n') !== (current.tags || []).join('\n')) fields.tags = tags;
    return fields;
  }

  function mark() {
    buttons.hidden = Object.keys(changes()).length === 0;
  }

  function drawTags() {
    tagList.replaceChildren(
      ...tags.map((tag) => h('li', { class: 'chip' }, h('span', { text: tag }), iconButton('close', `Remove tag ${tag}`, () => {
        tags = tags.filter((other) => other !== tag);
        drawTags();
        mark();
        tagInput.focus();
      }))),
      h('li', {}, tagInput));
  }

  function addTags() {
    const added = tagInput.value.split(',').map((tag) => tag.trim()).filter((tag) => tag && !tags.includes(tag));
    tagInput.value = '';
    if (!added.length) return;
    tags = [...tags, ...added].slice(0, 64);
    drawTags();
    tagInput.focus();
    mark();
  }

  function reset(to) {
    current = to;
    tags = [...(to.tags || [])];
    name.value = to.displayName || '';
    caption.value = to.caption || '';
    heading.textContent = to.displayName || 'Photo';
    problem.hidden = true;
    drawTags();
    mark();
  }

  async function submit() {
    addTags();
    const fields = changes();
    if (Object.keys(fields).length === 0) return;
    save.disabled = true;
    problem.hidden = true;
    try {
      const saved = await api.patchItem(current.id, fields, current.etag);
      reset(saved);
      onChanged(saved);
      toast('Saved');
    } catch (error) {
      problem.hidden = false;
      problem.textContent = `Not saved: ${error.message}.`;
      if (error.reason === 'ERROR_REASON_ETAG_MISMATCH') {
        // Keep the typed text, take the new version: saving again is then a choice.
        current = await api.getItem(current.id).catch(() => current);
        problem.textContent = 'Someone changed this photo meanwhile. Your text is kept; save again to replace theirs, or undo to see it.';
      }
    } finally {
      save.disabled = false;
    }
  }

  tagInput.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' || event.key === ',') {
      event.preventDefault();
      addTags();
    } else if (event.key === 'Backspace' && !tagInput.value && tags.length) {
      tags = tags.slice(0, -1);
      drawTags();
      tagInput.focus();
      mark();
    }
  });
  tagInput.addEventListener('change', addTags);
  const form = h('form', { class: 'edit' },
    heading,
    h('label', { class: 'quiet', for: 'edit-name', text: 'Name' }), name,
    h('label', { class: 'quiet', for: 'edit-caption', text: 'Caption' }), caption,
    h('label', { class: 'quiet', for: 'edit-tag', text: 'Add a tag' }), tagList,
    problem, buttons);
  form.addEventListener('input', mark);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit();
    if (event.key === 'Escape' && !$('.buttons', form).hidden) {
      // The first Escape takes back an edit; the next one closes the view.
      event.preventDefault();
      event.stopPropagation();
      reset(current);
    }
  });
  drawTags();
  return form;
}
