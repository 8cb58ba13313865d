// ThumbHash decoder: at most 25 bytes become a small soft picture. The format is a
// cosine transform of luminance, two colour axes and alpha, quantised to 4 bits.
// Source: Evan Wallace, ThumbHash (evanw.github.io/thumbhash).

const decoded = new Map();
const KEEP = 600;

/** Basis values cos(pi / size * (x + 0.5) * k) for every x and k. */
function cosines(size, terms) {
  const table = new Float32Array(size * terms);
  for (let x = 0; x < size; x += 1) {
    for (let k = 0; k < terms; k += 1) table[x * terms + k] = Math.cos((Math.PI / size) * (x + 0.5) * k);
  }
  return table;
}

/** Decodes to RGBA pixels, the longer side 32. Returns {width, height, rgba}. */
export function decode(hash) {
  const header = hash[0] | (hash[1] << 8) | (hash[2] << 16);
  const second = hash[3] | (hash[4] << 8);
  const hasAlpha = header >> 23 !== 0;
  const landscape = second >> 15 !== 0;
  const dc = { l: (header & 63) / 63, p: ((header >> 6) & 63) / 31.5 - 1, q: ((header >> 12) & 63) / 31.5 - 1 };
  const scale = { l: ((header >> 18) & 31) / 31, p: ((second >> 3) & 63) / 63, q: ((second >> 9) & 63) / 63 };
  const edge = second & 7;
  const lx = Math.max(3, landscape ? (hasAlpha ? 5 : 7) : edge);
  const ly = Math.max(3, landscape ? edge : (hasAlpha ? 5 : 7));
  const alphaDc = hasAlpha ? (hash[5] & 15) / 15 : 1;
  const alphaScale = hasAlpha ? (hash[5] >> 4) / 15 : 0;

  let nibble = 0;
  const start = hasAlpha ? 6 : 5;
  const channel = (nx, ny, factor) => {
    const ac = [];
    for (let cy = 0; cy < ny; cy += 1) {
      for (let cx = cy ? 0 : 1; cx * ny < nx * (ny - cy); cx += 1) {
        const value = (hash[start + (nibble >> 1)] >> ((nibble & 1) << 2)) & 15;
        ac.push((value / 7.5 - 1) * factor);
        nibble += 1;
      }
    }
    return { nx, ny, ac };
  };
  // Colour is boosted by a quarter to make up for quantisation.
  const l = channel(lx, ly, scale.l);
  const p = channel(3, 3, scale.p * 1.25);
  const q = channel(3, 3, scale.q * 1.25);
  const a = hasAlpha ? channel(5, 5, alphaScale) : null;

  const ratio = (landscape ? (hasAlpha ? 5 : 7) : edge) / (landscape ? edge : (hasAlpha ? 5 : 7));
  const width = Math.round(ratio > 1 ? 32 : 32 * ratio);
  const height = Math.round(ratio > 1 ? 32 / ratio : 32);
  const fx = cosines(width, 7);
  const fy = cosines(height, 7);
  const sum = ({ nx, ny, ac }, x, y) => {
    let total = 0;
    for (let cy = 0, j = 0; cy < ny; cy += 1) {
      const row = fy[y * 7 + cy] * 2;
      for (let cx = cy ? 0 : 1; cx * ny < nx * (ny - cy); cx += 1, j += 1) total += ac[j] * fx[x * 7 + cx] * row;
    }
    return total;
  };

  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 4) {
      const light = dc.l + sum(l, x, y);
      const yellow = dc.p + sum(p, x, y);
      const red = dc.q + sum(q, x, y);
      const blue = light - (2 / 3) * yellow;
      const r = (3 * light - blue + red) / 2;
      rgba[i] = r * 255;
      rgba[i + 1] = (r - red) * 255;
      rgba[i + 2] = blue * 255;
      rgba[i + 3] = (a ? alphaDc + sum(a, x, y) : 1) * 255;
    }
  }
  return { width, height, rgba };
}

/** The decoded picture of a base64 hash, or null if there is none or it is broken. */
function lookup(base64) {
  if (!base64) return null;
  const known = decoded.get(base64);
  if (known) return known;
  let image = null;
  try {
    const hash = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    if (hash.length >= 5) {
      const { width, height, rgba } = decode(hash);
      image = new ImageData(rgba, width, height);
    }
  } catch {
    return null;
  }
  if (decoded.size >= KEEP) decoded.delete(decoded.keys().next().value);
  decoded.set(base64, image);
  return image;
}

/** Paints the placeholder of a base64 hash on a canvas; clears it if there is none. */
export function paint(canvas, base64) {
  const image = lookup(base64);
  canvas.width = image ? image.width : 1;
  canvas.height = image ? image.height : 1;
  if (image) canvas.getContext('2d').putImageData(image, 0, 0);
}
