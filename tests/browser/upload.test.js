// Adding photos: drop, progress, duplicates, refusals, retries.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { address, screenshot, settled, withBrowser } from './support/browser.js';
import { cell, dropOn } from './support/gestures.js';
import { getItem, listItems, removeItem, store } from './support/library.js';
import { noisePng, scene, unique } from './support/pictures.js';

const open = withBrowser();
const made = new Set();

async function idOf(name) {
  const { mediaItems = [] } = await listItems('pageSize=50');
  const id = mediaItems.find((item) => item.displayName === name)?.id;
  if (id) made.add(id);
  return id;
}
after(async () => { for (const id of made) await removeItem(id); });

test('a dropped photo shows progress, then stands first in the grid with its thumbnail', async () => {
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  // A slow line, so that progress has something to show.
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.emulateNetworkConditions', { offline: false, latency: 5, downloadThroughput: -1, uploadThroughput: 700_000 });
  await page.evaluate(() => {
    window.progress = [];
    new MutationObserver(() => {
      const bar = document.querySelector('[role=progressbar][aria-label="All uploads"]');
      if (bar) window.progress.push(Number(bar.getAttribute('aria-valuenow')));
    }).observe(document.querySelector('#uploads'), { subtree: true, childList: true, attributes: true });
  });
  const name = `${unique('drop')}.png`;
  const bytes = noisePng(900, 600);
  await dropOn(page, 'upload', [{ name, type: 'image/png', bytes }]);
  await page.waitForFunction(() => window.progress.some((value) => value > 0 && value < 100), null, { timeout: 20_000 });
  await screenshot(page, 'upload-progress');
  await page.getByRole('heading', { name: '1 file added' }).waitFor({ timeout: 30_000 });
  const first = page.locator('[role=gridcell][data-index="0"]');
  assert.ok((await first.getAttribute('aria-label')).startsWith(name));
  await page.waitForFunction(() => document.querySelector('[data-index="0"] img')?.naturalWidth > 0, null, { timeout: 20_000 });
  const id = await idOf(name);
  assert.equal(Number((await getItem(id)).sizeBytes), bytes.length, 'every byte arrived');

  await dropOn(page, 'upload', [{ name: `again-${name}`, type: 'image/png', bytes }]);
  await page.getByText('already here', { exact: true }).waitFor({ timeout: 30_000 });
  assert.equal(await cell(page, `again-${name}`).count(), 0, 'a duplicate is not stored twice');
  await settled(page);
  await screenshot(page, 'uploads-done');
});

test('a text file called .jpg is refused with the reason, beside a photo that is stored', async () => {
  const page = await open('', { expect: [/status of 4\d\d/] });
  const picture = await scene(page);
  const name = `${unique('good')}.jpg`;
  await dropOn(page, 'upload', [
    { name: 'note.jpg', type: 'image/jpeg', bytes: Buffer.from(`only words ${name}`) },
    { name, type: 'image/jpeg', bytes: picture.full },
  ]);
  await page.getByRole('heading', { name: '1 file added, 1 failed' }).waitFor();
  const line = page.locator('#uploads li[data-state=failed]');
  assert.match(await line.locator('.note').innerText(), /\w+ \w+/);
  await page.getByRole('button', { name: 'Try note.jpg again' }).waitFor();
  assert.ok(await idOf(name));
});

test('an overloaded server is tried again without asking', async () => {
  const page = await open('', { expect: [/status of 503/] });
  let refusals = 0;
  await page.route(/\/v1\/mediaItems\?displayName/, async (route) => {
    if (refusals++ > 0) return route.continue();
    return route.fulfill({ status: 503, contentType: 'application/problem+json', body: JSON.stringify({ title: 'overloaded', status: 503, retry_after_seconds: 0.2 }) });
  });
  const name = `${unique('retry')}.png`;
  await dropOn(page, 'upload', [{ name, type: 'image/png', bytes: noisePng(80, 60) }]);
  await page.getByRole('heading', { name: '1 file added' }).waitFor();
  assert.equal(refusals, 2);
  assert.ok(await idOf(name));
});

test('a broken photo is listed under what could not be read, with the reason', async () => {
  const page = await open('', { expect: [/status of 404/] });
  const { full } = await scene(page);
  const name = `${unique('torn')}.jpg`;
  const item = await store(full.subarray(0, Math.floor(full.length * 0.4)), name, { states: ['STATE_FAILED'] });
  made.add(item.id);
  await page.reload();
  await page.getByRole('button', { name: /files? could not be read/ }).click();
  await page.getByRole('button', { name: 'Remove filter: could not be read' }).waitFor();
  await cell(page, name).waitFor();
  assert.match(await cell(page, name).getAttribute('aria-label'), /, \w.+, could not be read$/);
  await screenshot(page, 'failed');
  await cell(page, name).click();
  await page.locator('#item section.problem').waitFor();
  assert.ok((await page.locator('#item section.problem').innerText()).includes(item.failureDetail));
  const download = await page.locator('#item a', { hasText: 'Download original' }).getAttribute('href');
  const original = await page.request.get(new URL(download, page.url()).href);
  assert.equal((await original.body()).length, Math.floor(full.length * 0.4), 'the original is kept');
});

test('a film, which is not looked into yet, stands in the grid by its name and is found by it', async () => {
  const page = await open();
  await page.locator('[role=gridcell]:visible').first().waitFor();
  const word = unique('film');
  const name = `${word}.mp4`;
  // A file type box, and bytes that make it a file of its own.
  const bytes = Buffer.from(`\0\0\0\x18ftypisom\0\0\x02\0isommp41${word}`, 'latin1');
  await dropOn(page, 'upload', [{ name, type: 'video/mp4', bytes }]);
  await page.getByRole('heading', { name: '1 file added' }).waitFor();
  assert.ok(await idOf(name));
  await page.goto(address(`?q=${word}`));
  await cell(page, name).locator('.tile-title', { hasText: name }).waitFor();
  assert.match(await cell(page, name).getAttribute('class'), /video/);
  assert.equal(await cell(page, name).locator('.tile-busy').count(), 0);
});
