// Building DOM without markup strings: text is always text, so nothing that a file
// name or caption holds can become an element.

const SVG = 'http://www.w3.org/2000/svg';

/** Finds one element that must be there. */
export function $(selector, root = document) {
  return root.querySelector(selector);
}

/**
 * Makes an element. `props` are attributes, except `class`, `on` (listeners by event
 * name), `text`, and anything true/false, which becomes a boolean attribute.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === 'text') {
      element.textContent = value;
    } else if (name === 'value') {
      element.value = value;
    } else {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon from the sprite in the page, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon and a label that is read aloud and shown as a tooltip. */
export function iconButton(name, label, onClick, extra = {}) {
  return h('button', { type: 'button', class: 'icon-button', 'aria-label': label, title: label, on: { click: onClick }, ...extra }, icon(name));
}

/** A sentence whose `quoted` parts are commands, as nodes. */
export function withCode(sentence) {
  return sentence.split('`').map((part, at) => (at % 2 ? h('code', { text: part }) : part));
}

/** A colour swatch. The colour is set through CSSOM, which a strict CSP allows. */
export function swatch(hex, label, props = {}) {
  const button = h('button', { type: 'button', class: 'swatch', 'aria-label': label, title: label, ...props });
  if (/^#[0-9a-f]{6}$/i.test(hex)) button.style.setProperty('--swatch', hex);
  return button;
}

/** Whether the reader asked for less motion. */
export function reducedMotion() {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}

/** True while the keyboard belongs to a field. */
export function isTyping(target) {
  return target instanceof Element && target.closest('input, textarea, select, [contenteditable]') !== null;
}

let announceTimer = 0;

/** Says a sentence to screen readers, once things have settled. */
export function announce(sentence) {
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => { $('#announcer').textContent = sentence; }, 250);
}

let toastTimer = 0;

/** Shows a short sentence at the foot of the page; screen readers hear it too. */
export function toast(sentence) {
  const box = $('#toast');
  box.textContent = sentence;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.hidden = true; }, 5000);
}

/** Answers the question that is asked; none after it was answered. */
let answer = null;

/** Asks before something that cannot be undone; resolves to true if confirmed. */
export function confirmDialog({ title, body, action }) {
  const dialog = $('#confirm');
  // The close event comes late: a question that was left for this one is answered here, with no.
  answer?.(false);
  $('h2', dialog).textContent = title;
  $('p', dialog).textContent = body;
  $('[value=yes]', dialog).textContent = action;
  dialog.returnValue = 'no';
  dialog.onclose = () => {
    if (dialog.open) return;
    answer?.(dialog.returnValue === 'yes');
    answer = null;
  };
  dialog.showModal();
  $('[value=no]', dialog).focus();
  return new Promise((resolve) => { answer = resolve; });
}
