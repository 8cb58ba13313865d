// Pictures made for one run: never the same twice, so that nothing is a duplicate, and
// with content that tells them apart.

import { deflateSync } from 'node:zlib';
import { crc32 as crcOf } from './crc.js';

/** A word that no other run uses. */
export const unique = (prefix) => `${prefix}${Date.now().toString(36)}${Math.floor(Math.random() * 1e6).toString(36)}`;

function chunk(type, data) {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(data.length);
  head.write(type, 4, 'latin1');
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crcOf(Buffer.concat([head.subarray(4), data])));
  return Buffer.concat([head, data, crc]);
}

/** A PNG of random noise over a gradient: about `width * height * 3` bytes. */
export function noisePng(width, height) {
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0, at = 0; y < height; y += 1) {
    rows[at] = 0;
    at += 1;
    for (let x = 0; x < width * 3; x += 1, at += 1) rows[at] = (x / (width * 3)) * 160 + Math.random() * 95;
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

/**
 * Draws a scene of random shapes in the browser and returns it as JPEG files: the
 * picture and a half-size copy of lower quality. `page` may show anything.
 */
export async function scene(page, { width = 1200, height = 800, seed = Math.random() } = {}) {
  const encoded = await page.evaluate(async ({ width, height, seed }) => {
    let state = Math.floor(seed * 2 ** 31) || 1;
    const next = () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d');
    const colour = () => `hsl(${next() * 360} ${40 + next() * 60}% ${20 + next() * 60}%)`;
    const sky = context.createLinearGradient(0, 0, width * next(), height);
    sky.addColorStop(0, colour());
    sky.addColorStop(1, colour());
    context.fillStyle = sky;
    context.fillRect(0, 0, width, height);
    for (let n = 0; n < 40; n += 1) {
      context.fillStyle = colour();
      context.beginPath();
      if (n % 2) context.arc(next() * width, next() * height, 20 + next() * 160, 0, 7);
      else context.rect(next() * width, next() * height, next() * 260, next() * 200);
      context.fill();
    }
    const small = new OffscreenCanvas(width / 2, height / 2);
    small.getContext('2d').drawImage(canvas, 0, 0, width / 2, height / 2);
    const base64 = async (source, quality) => {
      const bytes = new Uint8Array(await (await source.convertToBlob({ type: 'image/jpeg', quality })).arrayBuffer());
      let text = '';
      for (const byte of bytes) text += String.fromCharCode(byte);
      return btoa(text);
    };
    return { full: await base64(canvas, 0.9), copy: await base64(small, 0.6) };
  }, { width, height, seed });
  return { full: Buffer.from(encoded.full, 'base64'), copy: Buffer.from(encoded.copy, 'base64') };
}

/** The JPEG with an EXIF block that names a camera. Source: Exif 2.3, section 4.5. */
export function withCamera(jpeg, make, model) {
  const texts = [[0x010f, make], [0x0110, model]].map(([tag, text]) => [tag, Buffer.from(`${text}\0`, 'latin1')]);
  const head = 8 + 2 + 12 * texts.length + 4;
  const tiff = Buffer.alloc(head);
  tiff.write('II*\0', 0, 'latin1');
  tiff.writeUInt32LE(8, 4);
  tiff.writeUInt16LE(texts.length, 8);
  let at = head;
  texts.forEach(([tag, text], index) => {
    const entry = 10 + 12 * index;
    tiff.writeUInt16LE(tag, entry);
    tiff.writeUInt16LE(2, entry + 2);
    tiff.writeUInt32LE(text.length, entry + 4);
    tiff.writeUInt32LE(at, entry + 8);
    at += text.length;
  });
  const payload = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), tiff, ...texts.map(([, text]) => text)]);
  const marker = Buffer.from([0xff, 0xe1, 0, 0]);
  marker.writeUInt16BE(payload.length + 2, 2);
  return Buffer.concat([jpeg.subarray(0, 2), marker, payload, jpeg.subarray(2)]);
}
