/**
 * Resampling as Pillow does it, to the last bit: a convolution whose filter widens with the scale, in fixed-point
 * arithmetic, along one axis and then along the other, with a rounding to 8 bits in between.
 *
 * A photo is read in strips, so that memory never holds a second copy of the whole photo.
 */

const PRECISION_BITS = 22; // Pillow's: 32 bits less 8 of a pixel and 2 of headroom

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** The filters by their name in a model's preprocessing: how far they reach at scale 1, and their weights. */
const FILTERS = {
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: bicubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

function bicubic(x) {
  const a = -0.5;
  const distance = Math.abs(x);
  if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  if (distance < 2) return (((distance - 5) * distance + 8) * distance - 4) * a;
  return 0;
}

/**
 * Resize a part of a photo.
 *
 * @param {(left: number, top: number, width: number, height: number) => Uint8Array | Uint8ClampedArray} read
 *   Returns a rectangle of the photo as RGBA, row by row. The fourth channel is ignored.
 * @param {number} width Width of the photo in pixels.
 * @param {number} height Height of the photo in pixels.
 * @param {[number, number, number, number]} box Left, top, right and bottom of the part in pixels; integers are
 *   the boundaries between pixels.
 * @param {number} columns Width of the result in pixels.
 * @param {number} rows Height of the result in pixels.
 * @param {string} filter `"nearest"`, `"bilinear"`, `"bicubic"` or `"lanczos"`.
 * @param {number} pillow Major version of the Pillow whose result is wanted.
 * @returns {Uint8Array} rows × columns × 3, RGB: the bytes of Pillow's
 *   `image.resize((columns, rows), filter, box=box)`.
 */
export function resize(read, width, height, box, columns, rows, filter, pillow = Infinity) {
  // Pillow stores the box as 32-bit floats.
  const [left, top, right, bottom] = box.map(Math.fround);
  if (filter === 'nearest') return nearest(read, width, height, [left, top, right, bottom], columns, rows);
  const chosen = FILTERS[filter];
  if (!chosen) throw new RangeError(`Unknown filter '${filter}'; known: nearest, ${Object.keys(FILTERS).join(', ')}.`);
  const across = windows(width, left, right, columns, chosen);
  const down = windows(height, top, bottom, rows, chosen);
  const order = isHeightFirst(width, height, columns, rows, pillow) ? heightFirst : widthFirst;
  return order(read, across, down);
}

/** Return whether Pillow reduces the height before the width: since 13, if it takes away far more of the height. */
function isHeightFirst(width, height, columns, rows, pillow) {
  const removed = height - rows;
  return pillow >= 13 && removed > 0 && removed > 2 * (width - columns);
}

function widthFirst(read, across, down) {
  const [columns, rows] = [across.length, down.length];
  const [x, y] = [extent(across), extent(down)];
  const narrowed = new Uint8Array(y.size * columns * 3);
  for (const [start, count] of strips(y.size, x.size)) {
    const strip = read(x.start, y.start + start, x.size, count);
    const from = { along: 4, across: 4 * x.size, skipped: x.start };
    convolve(strip, from, across, count, narrowed, { along: 3, across: 3 * columns, start: start * columns * 3 });
  }
  const result = new Uint8Array(rows * columns * 3);
  const from = { along: 3 * columns, across: 3, skipped: y.start };
  convolve(narrowed, from, down, columns, result, { along: 3 * columns, across: 3, start: 0 });
  return result;
}

function heightFirst(read, across, down) {
  const [columns, rows] = [across.length, down.length];
  const [x, y] = [extent(across), extent(down)];
  const shortened = new Uint8Array(rows * x.size * 3);
  for (const [start, count] of strips(x.size, y.size)) {
    const strip = read(x.start + start, y.start, count, y.size);
    const from = { along: 4 * count, across: 4, skipped: y.start };
    convolve(strip, from, down, count, shortened, { along: 3 * x.size, across: 3, start: start * 3 });
  }
  const result = new Uint8Array(rows * columns * 3);
  const from = { along: 3, across: 3 * x.size, skipped: x.start };
  convolve(shortened, from, across, rows, result, { along: 3, across: 3 * columns, start: 0 });
  return result;
}

/** Return the range of pixels that windows read. */
function extent(windows) {
  const start = windows[0].first;
  const end = Math.max(...windows.map(({ first, weights }) => first + weights.length));
  return { start, size: end - start };
}

/** Yield start and size of strips of a megapixel, of `total` lines of `length` pixels. */
function* strips(total, length) {
  const most = Math.max(1, Math.floor(2 ** 20 / length));
  for (let start = 0; start < total; start += most) yield [start, Math.min(most, total - start)];
}

/**
 * Return, for each pixel of the result along one axis, the first pixel that it reads and their weights.
 *
 * The weights add up to 2^22, but for rounding.
 */
function windows(size, start, end, count, filter) {
  const scale = Math.fround(end - start) / count;
  const widening = Math.max(1, scale); // when a photo is reduced, the filter covers what becomes one pixel
  const support = filter.support * widening;
  return Array.from({ length: count }, (_, index) => {
    const centre = start + (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const exact = Array.from({ length: last - first }, (_, k) =>
      filter.weight((k + first - centre + 0.5) * (1 / widening)),
    );
    const sum = exact.reduce((total, weight) => total + weight, 0);
    const weights = exact.map((weight) => {
      const fixed = (sum === 0 ? weight : weight / sum) * 2 ** PRECISION_BITS;
      return Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    });
    return { first, weights: Int32Array.from(weights) };
  });
}

const HALF = 2 ** (PRECISION_BITS - 1);

function toByte(sum) {
  const level = sum >> PRECISION_BITS;
  return level < 0 ? 0 : level > 255 ? 255 : level;
}

/**
 * Resample lines of pixels along one axis, as RGB.
 *
 * @param {Uint8Array | Uint8ClampedArray} source
 * @param {{along: number, across: number, skipped: number}} from Bytes between neighbouring pixels along the axis and
 *   between lines; number of pixels along the axis that `source` does not contain at its start.
 * @param {{first: number, weights: Int32Array}[]} windows Of each pixel of the result along the axis.
 * @param {number} lines Number of lines.
 * @param {Uint8Array} target
 * @param {{along: number, across: number, start: number}} to The same for the target; where its first pixel is.
 */
function convolve(source, from, windows, lines, target, to) {
  for (let index = 0; index < windows.length; index++) {
    const { first, weights } = windows[index];
    const start = (first - from.skipped) * from.along;
    for (let line = 0; line < lines; line++) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let pixel = start + line * from.across;
      for (let k = 0; k < weights.length; k++, pixel += from.along) {
        const weight = weights[k];
        red += source[pixel] * weight;
        green += source[pixel + 1] * weight;
        blue += source[pixel + 2] * weight;
      }
      const at = to.start + index * to.along + line * to.across;
      target[at] = toByte(red);
      target[at + 1] = toByte(green);
      target[at + 2] = toByte(blue);
    }
  }
}

/** Take the pixel of the photo under the middle of each pixel of the result. */
function nearest(read, width, height, [left, top, right, bottom], columns, rows) {
  const xs = middles(left, right, columns, width);
  const ys = middles(top, bottom, rows, height);
  const target = new Uint8Array(rows * columns * 3);
  let at = 0;
  for (const y of ys) {
    const line = read(0, y, width, 1);
    for (const x of xs) {
      for (let channel = 0; channel < 3; channel++) target[at++] = line[4 * x + channel];
    }
  }
  return target;
}

function middles(start, end, count, size) {
  const step = (end - start) / count;
  const found = [];
  for (let index = 0, place = start + step * 0.5; index < count; index++, place += step) { // added up, as Pillow does
    found.push(Math.min(size - 1, Math.max(0, Math.trunc(place))));
  }
  return found;
}
