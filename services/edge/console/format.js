// Numbers, times and names as people read them, in the reader's own locale.

const numbers = new Intl.NumberFormat();
const days = new Intl.DateTimeFormat(undefined, { dateStyle: 'long', timeZone: 'UTC' });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' });
const stored = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

/** 12345 as "12,345". */
export const count = (n) => numbers.format(Number(n) || 0);

/** "1 photo", "2 photos". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${Number(n) === 1 ? one : many}`;

/** Bytes in decimal units, as file managers show them. */
export function bytes(value) {
  let size = Number(value) || 0;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** A proto3 JSON duration ("0.0042s") in milliseconds. */
export const durationMs = (text) => (text ? Number.parseFloat(text) * 1000 : 0);

/** Milliseconds as "4.2 ms" or "1.3 s". */
export function elapsed(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

/** Capture times carry the camera's wall clock as UTC, so they are shown in UTC. */
export const day = (time) => (time ? days.format(new Date(time)) : '');
export const captured = (time) => (time ? moments.format(new Date(time)) : '');

/** When we stored it: a true instant, shown in the reader's zone. */
export const storedAt = (time) => (time ? stored.format(new Date(time)) : '');

/** "4,000 × 3,000". */
export const pixels = (width, height) => (width && height ? `${count(width)} × ${count(height)}` : '');

/** A position as "38.71230° N, 9.12980° W". */
export function place({ latitude = 0, longitude = 0 }) {
  return `${Math.abs(latitude).toFixed(5)}° ${latitude < 0 ? 'S' : 'N'}, ${Math.abs(longitude).toFixed(5)}° ${longitude < 0 ? 'W' : 'E'}`;
}

/** ERROR_REASON_CORRUPT_IMAGE as "corrupt image". */
export const reason = (name) => (name || '').replace(/^ERROR_REASON_/, '').replaceAll('_', ' ').toLowerCase();

/** The last part of a model id. */
export const modelName = (id) => (id || '').split('/').pop();

/** "vector:openai/clip" and "full_text" in words. */
export function listName(list) {
  if (list === 'full_text') return 'words';
  return list.startsWith('vector:') ? modelName(list) : list.replaceAll('_', ' ');
}
