// The grid at 100,000 items. The pages are synthetic, made from one real item; the
// code under test is the page's own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { screenshot, withBrowser } from './support/browser.js';
import { listItems } from './support/library.js';

const open = withBrowser();
const TOTAL = 100_000;
const MOST_NODES = 2000;
const MOST_CELLS = 160;

const idOf = (n) => `018f0000-0000-7000-8000-${n.toString(16).padStart(12, '0')}`;

async function manyItems(page, requests) {
  const { mediaItems } = await listItems('pageSize=50&state=STATE_READY&kind=KIND_IMAGE');
  const model = mediaItems[0];
  assert.ok(model, 'the library must hold a photo');
  await page.route(/\/renditions\//, (route) => {
    const url = new URL(route.request().url());
    return route.continue({ url: url.href.replace(/mediaItems\/[^/]+/, `mediaItems/${model.id}`) });
  });
  await page.route(/\/v1\/mediaItems\?/, (route) => {
    const query = new URL(route.request().url()).searchParams;
    const size = Number(query.get('pageSize'));
    if (size === 1) return route.fulfill({ json: { mediaItems: [], totalSize: query.has('state') ? '0' : String(TOTAL) } });
    requests.push(size);
    const oldest = query.get('order') === 'ORDER_OLDEST';
    const start = Number(query.get('pageToken') ?? 0);
    const end = Math.min(TOTAL, start + size);
    const items = [];
    for (let n = start; n < end; n += 1) {
      const place = oldest ? TOTAL - 1 - n : n;
      items.push({ ...model, id: idOf(place), displayName: `photo ${place}.jpg`, exif: undefined });
    }
    return route.fulfill({ json: { mediaItems: items, nextPageToken: end < TOTAL ? String(end) : '', totalSize: String(TOTAL) } });
  });
}

const count = (page) => page.evaluate(() => ({ nodes: document.querySelectorAll('*').length, cells: document.querySelectorAll('[role=gridcell]').length }));

test('scrolling through 100,000 items keeps the document small and the layout still', async () => {
  const requests = [];
  const page = await open('', { prepare: (fresh) => manyItems(fresh, requests) });
  await page.locator('.tile-image.shown').first().waitFor();
  assert.equal(await page.locator('#grid').getAttribute('aria-rowcount'), String(TOTAL / 4), 'every item has its place from the start');
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.evaluate(() => {
    window.shift = 0;
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) window.shift += entry.value; }).observe({ type: 'layout-shift', buffered: true });
  });
  for (let step = 0; step < 60; step += 1) {
    await page.mouse.wheel(0, 700);
    await page.waitForTimeout(16);
    const { nodes, cells } = await count(page);
    assert.ok(nodes < MOST_NODES, `${nodes} nodes in the document`);
    assert.ok(cells < MOST_CELLS, `${cells} cells in the document`);
  }
  await page.waitForFunction(() => [...document.querySelectorAll('.tile-image')].filter((img) => {
    const box = img.getBoundingClientRect();
    return box.top < innerHeight && box.bottom > 0;
  }).every((img) => img.complete && img.naturalWidth > 0));
  await screenshot(page, 'scrolled');
  assert.equal(await page.evaluate(() => document.documentElement.scrollHeight), height, 'loading must not change the height');
  const shift = await page.evaluate(() => window.shift);
  assert.ok(shift < 0.05, `layout shift ${shift}`);
  assert.ok(requests.length <= 4, `only the pages near the screen are read, not ${requests.length}`);
});

test('a jump to the very end shows the last photo after a page or two', async () => {
  const requests = [];
  const page = await open('', { prepare: (fresh) => manyItems(fresh, requests) });
  await page.locator('.tile-image.shown').first().waitFor();
  await page.locator('[role=gridcell][data-index="0"]').focus();
  const before = requests.length;
  await page.keyboard.press('Control+End');
  await page.locator(`[role=gridcell][aria-label^="photo ${TOTAL - 1}.jpg"]`).waitFor({ timeout: 60_000 });
  assert.equal(await page.evaluate(() => Number(document.activeElement.dataset.index)), TOTAL - 1);
  assert.ok(requests.length - before <= 3, `${requests.length - before} pages were read`);
  const { nodes, cells } = await count(page);
  assert.ok(nodes < MOST_NODES && cells < MOST_CELLS, `${nodes} nodes, ${cells} cells`);
});

test('a frame of fast scrolling costs little', async () => {
  const page = await open('', { prepare: (fresh) => manyItems(fresh, []) });
  await page.locator('.tile-image.shown').first().waitFor();
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  // The page's own work. Painting is left out: without a graphics card it measures the
  // machine and its other tenants.
  const work = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.filter(({ name }) => ['ScriptDuration', 'LayoutDuration', 'RecalcStyleDuration'].includes(name))
      .reduce((sum, { value }) => sum + value * 1000, 0);
  };
  const before = await work();
  const frames = await page.evaluate(async () => {
    const gaps = [];
    let last = performance.now();
    for (let frame = 0; frame < 120; frame += 1) {
      scrollBy({ top: 120, behavior: 'instant' });
      const now = await new Promise(requestAnimationFrame);
      gaps.push(now - last);
      last = now;
    }
    return gaps.sort((a, b) => a - b);
  });
  const perFrame = (await work() - before) / frames.length;
  console.log(`script, style and layout ${perFrame.toFixed(1)} ms a frame; frames: median ${frames[60].toFixed(0)} ms, p95 ${frames[114].toFixed(0)} ms`);
  assert.ok(perFrame < 25, `${perFrame.toFixed(1)} ms of work a frame`);
});
