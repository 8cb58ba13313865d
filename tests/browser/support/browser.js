// Starts Chromium and opens pages that watch themselves: console errors, uncaught
// exceptions and requests to other origins fail the test that opened the page.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { after, afterEach } from 'node:test';
import { chromium } from 'playwright-core';

if (!process.env.MEDIAMESH_URL) throw new Error('MEDIAMESH_URL must name a running mediamesh');
export const base = new URL(process.env.MEDIAMESH_URL);

const { MEDIAMESH_GUARDED_URL, MEDIAMESH_GUARDED_KEY } = process.env;
/** A mediamesh that asks for keys, and one with the scope admin; null if there is none. */
export const guarded = MEDIAMESH_GUARDED_URL ? { url: new URL(MEDIAMESH_GUARDED_URL), key: MEDIAMESH_GUARDED_KEY } : null;

const ARGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

/** The console at a query string. */
export const address = (query = '', at = base) => new URL(`/${query}`, at).href;

/** Takes a screenshot if a folder for them was named. */
export async function screenshot(page, name) {
  const folder = process.env.MEDIAMESH_SCREENSHOTS;
  if (!folder) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}

/** Waits until no thumbnail on screen is still loading, so screenshots are whole. */
export async function settled(page) {
  await page.waitForFunction(() => [...document.querySelectorAll('.tile-image')]
    .filter((img) => img.getBoundingClientRect().top < innerHeight && img.getBoundingClientRect().bottom > 0)
    .every((img) => img.complete && img.naturalWidth > 0), null, { timeout: 15_000 });
  await page.waitForTimeout(400);
}

/**
 * Registers a browser for the tests of a file. Returns `open(query, options)`.
 * `options.expect` is a list of patterns of console errors that the test provokes,
 * `options.at` another mediamesh than the usual one;
 * the rest goes to the browser context.
 */
export function withBrowser() {
  let browser;
  let watched = [];
  // Started by the first page, because hooks of a file may run side by side.
  const started = () => { browser ??= chromium.launch({ executablePath: process.env.MEDIAMESH_CHROMIUM ?? '/usr/bin/chromium', args: ARGS }); return browser; };
  after(async () => (await browser)?.close());
  afterEach(async () => {
    const seen = watched;
    watched = [];
    for (const { context } of seen) await context.close();
    for (const { faults } of seen) assert.deepEqual(faults, [], 'the page must stay free of errors and foreign requests');
  });
  return async function open(query = '', { expect = [], at = base, prepare, ...options } = {}) {
    const context = await (await started()).newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const faults = [];
    const fault = (text) => { if (!expect.some((pattern) => pattern.test(text))) faults.push(text); };
    page.on('console', (message) => { if (message.type() === 'error') fault(`console: ${message.text()}`); });
    page.on('pageerror', (error) => fault(`exception: ${error.message}`));
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.origin !== at.origin && !['data:', 'blob:'].includes(url.protocol)) fault(`foreign request: ${url.href}`);
    });
    watched.push({ context, faults });
    await prepare?.(page);
    await page.goto(address(query, at));
    return page;
  };
}
