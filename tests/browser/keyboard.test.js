// Everything without a mouse.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { screenshot, withBrowser } from './support/browser.js';
import { cell } from './support/gestures.js';
import { getItem, removeItem, store } from './support/library.js';
import { scene, unique } from './support/pictures.js';

const open = withBrowser();
const word = unique('plover');
const names = [`${word} one.jpg`, `${word} two.jpg`, `${word} three.jpg`];
const items = [];

before(async () => {
  const page = await open();
  for (const name of names) items.push(await store((await scene(page)).full, name));
});
after(async () => { for (const item of items) await removeItem(item.id); });

const focusedLabel = (page) => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? '');
const focusedIndex = (page) => page.evaluate(() => Number(document.activeElement.dataset.index ?? -1));

test('search, move, open, step, close and delete with keys alone', async () => {
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type(word);
  await page.waitForFunction((w) => [...document.querySelectorAll('[role=gridcell]')].filter((c) => c.checkVisibility()).slice(0, 3).every((c) => c.getAttribute('aria-label').startsWith(w)), word);
  await page.waitForFunction((w) => location.search.includes(`q=${w}`) && !document.body.classList.contains('loading'), word);
  await page.keyboard.press('ArrowDown');
  assert.equal(await focusedIndex(page), 0);
  await page.keyboard.press('ArrowRight');
  assert.equal(await focusedIndex(page), 1);
  const second = await focusedLabel(page);
  await screenshot(page, 'keyboard-focus');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: second.split(',')[0] }).waitFor();
  await page.keyboard.press('n');
  const third = await page.locator('[role=gridcell][data-index="2"]').getAttribute('aria-label');
  await page.getByRole('dialog', { name: third.split(',')[0] }).waitFor();
  await page.keyboard.press('p');
  await page.getByRole('dialog', { name: second.split(',')[0] }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  assert.equal(await focusedLabel(page), second, 'focus returns to the photo');

  await page.keyboard.press('Delete');
  await page.getByRole('dialog', { name: /^Delete / }).waitFor();
  await page.keyboard.press('Escape');
  const spared = items.find((item) => second.startsWith(item.displayName));
  await getItem(spared.id);
  await page.locator('[role=gridcell][data-index="1"]').focus();
  const focused = await focusedLabel(page);
  const victim = items.find((item) => focused.startsWith(item.displayName));
  await page.keyboard.press('Delete');
  await page.getByRole('dialog', { name: /^Delete / }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel', 'the safe answer has the focus');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByText(`Deleted ${victim.displayName}`).waitFor();
  await getItem(victim.id, [404]);
  await cell(page, victim.displayName).waitFor({ state: 'detached' });
});

test('help opens with ? and lists the keys; Escape clears the search', async () => {
  const page = await open(`?q=${word}`);
  await cell(page, word).first().waitFor();
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  await screenshot(page, 'help');
  await page.keyboard.press('Escape');
  await page.keyboard.press('/');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => !location.search.includes('q='));
  assert.equal(await page.locator('#query').inputValue(), '');
});

test('the theme key switches light and dark and is remembered', async () => {
  const page = await open('', { colorScheme: 'light' });
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.keyboard.press('t');
  const dark = await background();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await background(), dark);
});
