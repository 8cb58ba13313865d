// The item view: what it shows, and changing what can be changed.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { screenshot, withBrowser } from './support/browser.js';
import { cell } from './support/gestures.js';
import { getItem, patchItem, removeItem, searchable, store } from './support/library.js';
import { scene, unique, withCamera } from './support/pictures.js';

const open = withBrowser();
const name = `${unique('heron')}.jpg`;
let item;

before(async () => {
  const page = await open();
  const { full } = await scene(page);
  item = await store(withCamera(full, 'Acme', 'Testcam 9'), name);
  await searchable(item.id);
});
after(() => item && removeItem(item.id));

test('the item view shows the photo large, its camera, colours, similar photos and renditions', async () => {
  const page = await open();
  await cell(page, name).click();
  const view = page.getByRole('dialog', { name });
  await view.waitFor();
  await page.waitForFunction(() => document.querySelector('#item .frame img')?.naturalWidth >= 600);
  await view.getByText('Acme Testcam 9').first().waitFor();
  await view.getByText('1,200 × 800').first().waitFor();
  assert.equal(await view.locator('.palette .swatch').count(), item.colors.length);
  await view.locator('.similar img').first().scrollIntoViewIfNeeded();
  await page.waitForFunction(() => document.querySelector('#item .similar img').naturalWidth > 0);
  await view.getByText(/\d renditions/).click();
  assert.deepEqual(await view.locator('.renditions a').allInnerTexts(), item.renditions.map((r) => r.name.replaceAll('_', ' ')));
  for (const link of await view.locator('.renditions a').all()) {
    const response = await page.request.get(new URL(await link.getAttribute('href'), page.url()).href);
    assert.equal(response.status(), 200);
  }
  await page.waitForTimeout(500);
  await screenshot(page, 'item-light');
});

test('the address of an item opens it, and back closes it', async () => {
  const page = await open(`?item=${item.id}`);
  await page.getByRole('dialog', { name }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  await cell(page, name).click();
  await page.getByRole('dialog', { name }).waitFor();
  await page.goBack();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
});

test('a colour of the photo searches by that colour and finds the photo', async () => {
  const page = await open(`?item=${item.id}`);
  await page.locator('.palette .swatch').first().click();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  await page.getByRole('button', { name: `Remove filter: ${item.colors[0].hex}` }).waitFor();
  await cell(page, name).first().waitFor();
});

test('similar photos can be shown as a list', async () => {
  const page = await open(`?item=${item.id}`);
  await page.getByRole('button', { name: 'Show all similar photos' }).click();
  await page.getByRole('button', { name: 'Stop searching for similar photos' }).waitFor();
  assert.match(page.url(), new RegExp(`like=${item.id}`));
  await page.locator('[role=gridcell]:visible').first().waitFor();
});

test('caption and tags are saved', async () => {
  const page = await open(`?item=${item.id}`);
  await page.getByLabel('Caption').fill('Heron at dawn');
  await page.getByLabel('Add a tag').fill('bird');
  await page.getByLabel('Add a tag').press('Enter');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved', { exact: true }).waitFor();
  const saved = await getItem(item.id);
  assert.equal(saved.caption, 'Heron at dawn');
  assert.deepEqual(saved.tags, ['bird']);
});

test('an edit made meanwhile by someone else is not overwritten unseen', async () => {
  const page = await open(`?item=${item.id}`, { expect: [/status of 409/] });
  await page.getByLabel('Caption').fill('mine');
  await patchItem(item.id, { caption: 'theirs' });
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText(/changed this photo meanwhile/).waitFor();
  assert.equal((await getItem(item.id)).caption, 'theirs');
  assert.equal(await page.getByLabel('Caption').inputValue(), 'mine');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved', { exact: true }).waitFor();
  assert.equal((await getItem(item.id)).caption, 'mine');
});
