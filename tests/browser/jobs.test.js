// The jobs dialog: what waits, runs, fails and is done, and what can be done about it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { audit } from './support/audit.js';
import { base, screenshot, withBrowser } from './support/browser.js';
import { listItems, removeItem, until } from './support/library.js';
import { noisePng, unique } from './support/pictures.js';

const open = withBrowser();

async function post(path, body, type = 'application/json') {
  const response = await fetch(new URL(path, base), { method: 'POST', headers: { 'content-type': type }, body });
  assert.ok(response.ok, `${path} answered ${response.status}: ${await response.clone().text()}`);
  return response.json();
}

/** Stores a file and does not wait for what is made of it. */
async function upload(bytes) {
  const { mediaItem, jobId } = await post(`/v1/mediaItems?displayName=${unique('job')}.png`, bytes, 'image/png');
  return { id: mediaItem.id, jobId };
}

const job = async (id) => (await fetch(new URL(`/v1/jobs/${id}`, base))).json();
const line = (page, id, state = '') => page.locator(`#jobs li[data-id="${id}"]${state ? `[data-state=STATE_${state}]` : ''}`);

async function openJobs(page) {
  await page.locator('#show-jobs').click();
  await page.locator('#jobs li').first().waitFor();
}

test('a job that waits is cancelled and tried again, and the list follows it', async () => {
  await post('/v1/queue:pause', '{}');
  const { id, jobId } = await upload(noisePng(80, 60));
  try {
    const page = await open();
    await openJobs(page);
    await line(page, jobId, 'QUEUED').waitFor();
    assert.deepEqual(await audit(page), [], 'the jobs dialog');
    await screenshot(page, 'jobs');
    await line(page, jobId).getByRole('button', { name: /^Cancel/ }).click();
    await line(page, jobId, 'CANCELLED').waitFor();
    assert.equal((await job(jobId)).state, 'STATE_CANCELLED');
    await line(page, jobId).getByRole('button', { name: /^Try again/ }).click();
    await line(page, jobId, 'QUEUED').waitFor();
    assert.equal((await job(jobId)).state, 'STATE_QUEUED');
    await post('/v1/queue:resume', '{}');
    await line(page, jobId, 'SUCCEEDED').waitFor();
    assert.equal(await line(page, jobId).getByRole('button', { name: /^(Cancel|Try)/ }).count(), 0);
    await line(page, jobId).getByRole('button', { name: 'Photo' }).click();
    await page.locator('#item .actions').waitFor();
    assert.match(page.url(), new RegExp(`item=${id}`));
  } finally {
    await post('/v1/queue:resume', '{}');
    await removeItem(id);
  }
});

/** The shares of a job that the dialog showed while it ran. */
async function progressSeen() {
  await post('/v1/queue:pause', '{}');
  const { id, jobId } = await upload(noisePng(3000, 2400));
  try {
    const page = await open();
    const watched = page.waitForResponse((response) => response.url().endsWith(`/v1/jobs/${jobId}:watch`));
    await openJobs(page);
    await line(page, jobId, 'QUEUED').waitFor();
    assert.match((await watched).headers()['content-type'], /text\/event-stream/);
    const seen = page.evaluate((jobId) => new Promise((resolve) => {
      const shares = new Set();
      new MutationObserver(() => {
        const row = document.querySelector(`#jobs li[data-id="${jobId}"]`);
        if (row.dataset.state === 'STATE_RUNNING') shares.add(Number(row.querySelector('.track').getAttribute('aria-valuenow')));
        if (row.dataset.state === 'STATE_SUCCEEDED') resolve([...shares]);
      }).observe(document.querySelector('#jobs ul'), { subtree: true, childList: true, attributes: true });
    }), jobId);
    await post('/v1/queue:resume', '{}');
    const shares = await seen;
    console.log(`progress seen: ${shares.join(', ')} %`);
    return shares;
  } finally {
    await post('/v1/queue:resume', '{}');
    await removeItem(id);
  }
}

test('a running job tells its progress by server-sent events', async () => {
  // a job may be over before a second step is told
  for (let tries = 0; tries < 12; tries += 1) {
    // the list alone is read every two seconds, and would show two steps at most
    if ((await progressSeen()).length >= 2) return;
  }
  assert.fail('no job showed two steps');
});

test('dead letters are listed with what went wrong and queued again together', async () => {
  const whole = noisePng(300, 200);
  const { id, jobId } = await upload(whole.subarray(0, whole.length / 2));
  try {
    await until(async () => (await job(jobId)).state === 'STATE_FAILED', 'the job to fail');
    const page = await open();
    await openJobs(page);
    await page.locator('#jobs-state').selectOption('STATE_FAILED');
    await line(page, jobId, 'FAILED').waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll('#jobs li')].every((row) => row.dataset.state === 'STATE_FAILED'));
    assert.ok((await line(page, jobId).locator('.fault').textContent()).length > 10);
    await screenshot(page, 'jobs-failed');
    const before = (await job(jobId)).startTime;
    await page.locator('#jobs-retry', { hasText: /Try .* again/ }).click();
    await page.locator('#jobs-said', { hasText: /queued again/ }).waitFor();
    await until(async () => {
      const now = await job(jobId);
      return now.state === 'STATE_FAILED' && now.startTime !== before;
    }, 'the job to run and fail again');
    await line(page, jobId, 'FAILED').waitFor();
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#jobs[open]').count(), 0);
    assert.ok((await listItems()).mediaItems.length > 0);
  } finally {
    await removeItem(id);
  }
});
