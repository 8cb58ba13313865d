// The console's own modules that need no page: the placeholder decoder and the list
// that is read from both ends.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PageSource } from '../../services/edge/console/source.js';
import { decode } from '../../services/edge/console/thumbhash.js';

// Pixels [index, r, g, b, a] from the reference decoder, npm thumbhash 0.1.1.
const REFERENCE = [
  { hash: 'qhUGFYhoiZg3x4ieeJp/WAqWg3Aq', width: 32, height: 23, pixels: [[0, 156, 200, 255, 255], [17, 181, 165, 248, 255], [368, 180, 98, 184, 255], [735, 148, 192, 255, 255]] },
  { hash: 'oUiGGww3s7B3eHizsDj7dHB3iIiHiHg=', width: 19, height: 32, pixels: [[0, 149, 92, 119, 37], [17, 212, 32, 114, 200], [304, 150, 120, 120, 0], [607, 211, 204, 109, 200]] },
];

test('thumbhash placeholders match the reference decoder, opaque and with alpha', () => {
  for (const { hash, width, height, pixels } of REFERENCE) {
    const image = decode(Buffer.from(hash, 'base64'));
    assert.deepEqual([image.width, image.height], [width, height]);
    for (const [index, ...expected] of pixels) {
      const actual = image.rgba.slice(index * 4, index * 4 + 4);
      expected.forEach((value, channel) => assert.ok(Math.abs(actual[channel] - value) <= 1, `pixel ${index}: ${actual}, not ${expected}`));
    }
  }
});

function list(total) {
  const calls = { head: 0, tail: 0 };
  const reader = (end) => async (token) => {
    calls[end] += 1;
    const start = Number(token) || 0;
    const stop = Math.min(total, start + (token ? 100 : 12));
    const items = [];
    for (let n = start; n < stop; n += 1) items.push({ id: end === 'head' ? n : total - 1 - n });
    return { items, next: stop < total ? String(stop) : '', total, info: null };
  };
  return { calls, source: new PageSource({ head: reader('head'), tail: reader('tail') }, () => {}) };
}

test('a long list is read from the nearer end and is whole when the ends meet', async () => {
  const { calls, source } = list(2500);
  await source.want(0);
  await source.want(2499);
  assert.deepEqual(calls, { head: 1, tail: 1 });
  assert.equal(source.items[2499].id, 2499);
  await source.aim(1200, 1260);
  source.prepend({ id: 'new' });
  assert.equal(source.items[1201].id, 1200);
  source.remove('new');
  for (let n = 0; n < 2500; n += 1) {
    if (!source.items[n]) await source.want(n);
    assert.equal(source.items[n].id, n);
  }
  assert.equal(source.done, true);
  assert.equal(source.length, 2500);
});

test('a deleted item does not come back with a later page', async () => {
  const { source } = list(300);
  await source.want(299);
  source.remove(299);
  await source.want(150);
  assert.equal(source.indexOf(299), -1);
  await source.aim(0, 298);
  assert.equal(source.items.some((tile) => tile?.id === 299), false);
});

test('an empty list ends at once', async () => {
  const { source } = list(0);
  await source.want(0);
  assert.deepEqual([source.done, source.length], [true, 0]);
});
