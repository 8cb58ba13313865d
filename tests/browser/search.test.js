// Finding photos: by words, by picture, by filter.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { screenshot, settled, withBrowser } from './support/browser.js';
import { cell, dropOn, paste } from './support/gestures.js';
import { removeItem, searchable, store, total, until } from './support/library.js';
import { scene, unique } from './support/pictures.js';

const open = withBrowser();
const word = unique('kestrel');
const name = `${word}.jpg`;
let picture;
let item;

before(async () => {
  const page = await open();
  picture = await scene(page);
  item = await store(picture.full, name);
  await searchable(item.id);
});
after(() => item && removeItem(item.id));

test('the library is shown at once and counted', async () => {
  const page = await open();
  await page.locator('.tile-image.shown, .tile-image.there').first().waitFor();
  assert.match(await page.locator('#result-line').innerText(), /^[\d,]+ photos/);
  assert.match(await page.locator('#status').innerText(), /[\d,]+ items · .*queue/);
  await settled(page);
  await screenshot(page, 'library-light');
});

test('typing words finds the photo, says how many and keeps the query in the address', async () => {
  const page = await open();
  await page.getByRole('combobox', { name: 'Search your photos' }).fill(word);
  await cell(page, name).waitFor();
  assert.equal(await page.locator('[role=gridcell]:visible').first().getAttribute('aria-label').then((label) => label.startsWith(name)), true, 'the best hit comes first');
  await page.waitForFunction(() => /result/.test(document.querySelector('#announcer').textContent));
  assert.match(page.url(), new RegExp(`q=${word}`));
  assert.match(await page.locator('#result-line').innerText(), /results?\b.*ms/s);
  await page.reload();
  await cell(page, name).waitFor();
  assert.equal(await page.locator('#query').inputValue(), word);
});

test('a slow answer to an earlier query never replaces the later one', async () => {
  const page = await open('', { expect: [/ERR_ABORTED|ERR_FAILED/] });
  let slow = 0;
  await page.route(/mediaItems:search$/, async (route) => {
    if (route.request().postDataJSON().query === 'slow') {
      slow += 1;
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
    await route.continue().catch(() => {});
  });
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await page.locator('#query').fill('slow');
  await until(() => slow === 1, 'the slow search to be sent');
  await page.locator('#query').fill(word);
  await cell(page, name).waitFor();
  await page.waitForTimeout(2200);
  assert.equal(slow, 1);
  assert.equal(await cell(page, name).count(), 1);
});

test('a pasted smaller copy of a photo finds the original first and stores nothing', async () => {
  const before = await total();
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await paste(page, { name: 'clipboard.jpg', type: 'image/jpeg', bytes: picture.copy });
  await page.locator('#result-line .facts').waitFor();
  const first = page.locator('[role=gridcell][data-index="0"]');
  await page.waitForFunction((start) => document.querySelector('[data-index="0"]')?.getAttribute('aria-label').startsWith(start), name);
  assert.ok((await first.getAttribute('aria-label')).startsWith(name));
  await settled(page);
  await screenshot(page, 'search-by-picture');
  await page.getByRole('button', { name: /Stop searching by the picture/ }).click();
  await page.waitForFunction(() => /photos/.test(document.querySelector('#result-line').textContent));
  assert.equal(await total(), before);
});

test('a picture dropped on the search zone searches and stores nothing', async () => {
  const before = await total();
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await dropOn(page, 'search', [{ name: 'dropped.jpg', type: 'image/jpeg', bytes: picture.copy }]);
  await page.waitForFunction((start) => document.querySelector('[data-index="0"]')?.getAttribute('aria-label').startsWith(start), name);
  assert.equal(await total(), before);
});

test('filters narrow the list, show as chips and can be removed', async () => {
  const page = await open();
  await page.getByRole('button', { name: 'Filters', exact: true }).click();
  const answered = page.waitForResponse((response) => response.url().includes(':search') && response.ok());
  await page.getByRole('button', { name: 'Landscape' }).click();
  const answer = await (await answered).json();
  assert.ok(answer.results.length > 0, 'the landscape fixture matches');
  for (const hit of answer.results) assert.ok(hit.widthPixels > hit.heightPixels, `${hit.displayName} is not landscape`);
  assert.match(page.url(), /orientation=landscape/);
  await screenshot(page, 'filters');
  await page.getByRole('button', { name: 'Remove filter: landscape' }).click();
  await page.waitForFunction(() => !location.search.includes('orientation'));
  await page.goBack();
  await page.waitForFunction(() => location.search.includes('orientation=landscape') && document.querySelector('#chips li'));
});

test('explain shows for each photo which lists found it', async () => {
  const page = await open(`?q=${word}`);
  await cell(page, name).waitFor();
  await page.getByRole('button', { name: 'Explain why each photo was found' }).click();
  await page.locator('.tile.explained').first().waitFor();
  assert.match(await page.locator('.tile.explained .tile-note').first().innerText(), /score \d\.\d+[\s\S]*#1/);
  assert.ok((await page.locator('#explanation li').first().innerText()).length > 5, 'the steps are told');
  await settled(page);
  await screenshot(page, 'explain');
});

test('words that match nothing say so and lead back', async () => {
  const page = await open('?q=zzz&folder=no-such-folder-anywhere');
  await page.getByRole('heading', { name: /Nothing matches/ }).waitFor();
  await screenshot(page, 'no-results');
  await page.getByRole('button', { name: 'Show all photos' }).click();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  assert.equal(new URL(page.url()).search, '');
});

test('words typed just before a button is pressed are searched for, and go at a touch', async () => {
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await page.locator('#query').fill(word);
  await page.getByRole('button', { name: 'Explain why each photo was found' }).click();
  await page.locator('.tile.explained').first().waitFor();
  assert.equal(await page.locator('#query').inputValue(), word);
  await page.getByRole('button', { name: 'Clear the words' }).click();
  await page.waitForFunction(() => /photos/.test(document.querySelector('#result-line').textContent));
  assert.equal(await page.locator('#query').inputValue(), '');
  assert.ok(!(await page.getByRole('button', { name: 'Clear the words' }).isVisible()), 'nothing is left to clear');
});

test('the back button takes words out of the box as well, even while it has the focus', async () => {
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await page.locator('#query').fill(word);
  await page.waitForFunction((words) => location.search.includes(words), word);
  await page.goBack();
  await page.waitForFunction(() => /photos/.test(document.querySelector('#result-line').textContent));
  assert.equal(await page.locator('#query').inputValue(), '');
});

test('similar photos of a hit are those of the hit, not of the picture that found it', async () => {
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await paste(page, { name: 'clipboard.jpg', type: 'image/jpeg', bytes: picture.copy });
  await cell(page, name).click();
  await page.locator('#item').getByRole('button', { name: /similar/i }).last().waitFor();
  const asked = page.waitForRequest((request) => /mediaItems:search/.test(request.url()) && !/limit":13/.test(request.postData() ?? ''));
  await page.keyboard.press('s');
  const request = await asked;
  assert.match(request.url(), /mediaItems:search$/, 'no picture is sent');
  assert.deepEqual(request.postDataJSON().examples, [{ mediaItemId: item.id }]);
  await page.locator('#example img').waitFor();

  await page.goBack();
  await page.goBack();
  await page.locator('#example canvas').waitFor();
  await page.goBack();
  await page.waitForFunction(() => /photos/.test(document.querySelector('#result-line').textContent));
  assert.ok(!(await page.locator('#example').isVisible()), 'the step before had no picture');
});

test('a picture that cannot be read is told so, within the width of a phone', async () => {
  const page = await open('', { expect: [/status of 415/], viewport: { width: 390, height: 844 } });
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await paste(page, { name: 'notes.jpg', type: 'image/jpeg', bytes: Buffer.from('these are words') });
  const notice = page.locator('#notice');
  await notice.waitFor();
  assert.match(await notice.innerText(), /not a known image format$/);
  assert.equal(await page.locator('#result-line').innerText(), '');
  const right = await notice.evaluate((box) => Math.max(...[...box.children].map((child) => child.getBoundingClientRect().right)));
  assert.ok(right <= 390, `the notice ends at ${right}`);
});

test('a search that nobody answered is answered once the server is back', async () => {
  const page = await open('', { expect: [/ERR_CONNECTION_REFUSED/] });
  await page.locator('[role=gridcell]:visible').first().waitFor();
  let down = true;
  await page.route(/\/v1\//, (route) => (down ? route.abort('connectionrefused') : route.continue()));
  await page.locator('#query').fill(word);
  await page.locator('#notice', { hasText: 'mediamesh does not answer' }).waitFor();
  // Coming back to the page asks for the state, as time does.
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await page.locator('#status', { hasText: 'trying again' }).waitFor();
  down = false;
  await cell(page, name).waitFor();
  assert.ok(!(await page.locator('#notice').isVisible()));
});

test('words that are entered are remembered and suggested, and what is typed on the way is not', async () => {
  const page = await open();
  const history = () => page.evaluate(async () => {
    const answer = await (await fetch('/v1/searches')).json();
    return answer.searches.map((search) => search.query);
  });
  const input = page.locator('#query');
  await input.pressSequentially(`${word} b`, { delay: 250 });
  await input.fill(`${word} jpg`);
  await input.press('Enter');
  await until(async () => (await history()).includes(`${word} jpg`), 'the search to be remembered');
  const fragments = (await history()).filter((query) => query.startsWith(word.slice(0, 4)) && query !== word && query !== `${word} jpg`);
  assert.deepEqual(fragments, []);
  await input.fill(word.slice(0, 4));
  const option = page.locator(`#suggestions option[value="${word} jpg"]`);
  await option.waitFor({ state: 'attached' });
});
