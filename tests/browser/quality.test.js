// What holds for the whole page: fast first paint, accessible, fits a phone, strict CSP.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { audit } from './support/audit.js';
import { address, screenshot, settled, withBrowser } from './support/browser.js';

const open = withBrowser();

async function states(page, suffix) {
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await settled(page);
  assert.deepEqual(await audit(page), [], 'library');
  await screenshot(page, `library-${suffix}`);
  await page.keyboard.press('f');
  assert.deepEqual(await audit(page), [], 'filters');
  await page.keyboard.press('Escape');
  await page.locator('[role=gridcell][data-index="0"]').click();
  await page.locator('#item .actions').waitFor();
  await page.waitForTimeout(800);
  assert.deepEqual(await audit(page), [], 'item view');
  await screenshot(page, `item-${suffix}`);
}

test('the first contentful paint comes within 2 seconds and nothing moves after it', async () => {
  const page = await open();
  await page.locator('.tile-image.shown').first().waitFor();
  const { paint, shift } = await page.evaluate(() => new Promise((resolve) => {
    let shift = 0;
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) shift += entry.value; }).observe({ type: 'layout-shift', buffered: true });
    new PerformanceObserver((list) => {
      const entry = list.getEntriesByName('first-contentful-paint')[0];
      if (entry) setTimeout(() => resolve({ paint: entry.startTime, shift }), 500);
    }).observe({ type: 'paint', buffered: true });
  }));
  console.log(`first contentful paint ${Math.round(paint)} ms, layout shift ${shift.toFixed(4)}`);
  assert.ok(paint < 2000, `first contentful paint after ${paint} ms`);
  assert.ok(shift < 0.05, `layout shift ${shift}`);
});

test('no serious accessibility finding in light', async () => {
  await states(await open('', { colorScheme: 'light', reducedMotion: 'reduce' }), 'light');
});

test('no serious accessibility finding in dark', async () => {
  await states(await open('', { colorScheme: 'dark', reducedMotion: 'reduce' }), 'dark');
});

test('no serious accessibility finding where a file could not be read', async () => {
  const broken = { id: '01a1fcf8-11fa-77c6-9566-7f16e8b6ef74', kind: 'KIND_IMAGE', state: 'STATE_FAILED', displayName: 'broken.jpg', failureReason: 'ERROR_REASON_CORRUPT_IMAGE', failureDetail: 'image/jpeg data is truncated' };
  const page = await open('', { prepare: (fresh) => fresh.route(/\/v1\/mediaItems\?/, (route) => route.fulfill({ json: { totalSize: '1', mediaItems: [broken] } })) });
  await page.locator('.tile.failed').waitFor();
  assert.deepEqual(await audit(page), []);
});

test('no serious accessibility finding where photos are explained', async () => {
  const page = await open('?orientation=landscape&explain=1');
  await page.locator('.tile.explained').first().waitFor();
  assert.match(await page.locator('.tile.explained').first().getAttribute('aria-label'), /, score \d/);
  assert.deepEqual(await audit(page), []);
});

test('the page fits a phone', async () => {
  const page = await open('', { viewport: { width: 390, height: 800 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
  await page.locator('[role=gridcell]:visible').first().waitFor();
  await settled(page);
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(await overflow(), 0);
  await screenshot(page, 'phone');
  await page.getByRole('button', { name: 'Filters', exact: true }).tap();
  assert.equal(await overflow(), 0);
  await screenshot(page, 'phone-filters');
  await page.getByRole('button', { name: 'Filters', exact: true }).tap();
  await page.locator('[role=gridcell][data-index="1"]').tap();
  await page.locator('#item .actions').waitFor();
  await page.waitForTimeout(800);
  assert.equal(await page.evaluate(() => document.querySelector('#item').scrollWidth <= innerWidth), true);
  await screenshot(page, 'phone-item');
});

test('an empty library tells a newcomer what to do', async () => {
  const page = await open('', { prepare: (fresh) => fresh.route(/\/v1\/mediaItems\?/, (route) => route.fulfill({ json: { totalSize: '0' } })) });
  await page.getByRole('heading', { name: 'Your photos go here' }).waitFor();
  await page.getByText('make up DIR=').waitFor();
  await page.getByRole('button', { name: 'Choose photos' }).waitFor();
  assert.deepEqual(await audit(page), []);
  await screenshot(page, 'empty');
});

test('scripts and styles come only from the edge, and its policy says so', async () => {
  const page = await open();
  const response = await page.request.get(address());
  const policy = response.headers()['content-security-policy'] ?? '';
  assert.match(policy, /(default|script)-src [^;]*'(self|none)'/);
  assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval/);
  const inline = await page.evaluate(() => document.querySelectorAll('script:not([src]), style, [style*="expression"], [onclick]').length);
  assert.equal(inline, 0);
});
