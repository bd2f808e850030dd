/**
 * Resampling as Pillow does it, to the last bit: a convolution whose filter widens with the scale, in fixed-point
 * arithmetic, first along the rows and then along the columns, with a rounding to 8 bits in between.
 *
 * A photo is read in horizontal strips, so that memory holds a few hundred of its rows and never the whole photo.
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
 * @returns {Uint8Array} rows × columns × 3, RGB: the bytes of Pillow's
 *   `image.resize((columns, rows), filter, box=box)`.
 */
export function resize(read, width, height, box, columns, rows, filter) {
  // Pillow stores the box as 32-bit floats.
  const [left, top, right, bottom] = box.map(Math.fround);
  if (filter === 'nearest') return nearest(read, width, height, [left, top, right, bottom], columns, rows);
  const chosen = FILTERS[filter];
  if (!chosen) throw new RangeError(`Unknown filter '${filter}'; known: nearest, ${Object.keys(FILTERS).join(', ')}.`);
  const across = windows(width, left, right, columns, chosen);
  const down = windows(height, top, bottom, rows, chosen);
  const firstRow = down[0].first;
  const lastRow = Math.max(...down.map((each) => each.first + each.weights.length));
  const firstColumn = across[0].first;
  const lastColumn = Math.max(...across.map((each) => each.first + each.weights.length));
  const narrowed = new Uint8Array((lastRow - firstRow) * columns * 3);
  const readWidth = lastColumn - firstColumn;
  const stripHeight = Math.max(1, Math.floor(2 ** 20 / readWidth)); // a megapixel at a time
  for (let row = firstRow; row < lastRow; row += stripHeight) {
    const count = Math.min(stripHeight, lastRow - row);
    const strip = read(firstColumn, row, readWidth, count);
    narrow(strip, readWidth, count, firstColumn, across, narrowed, (row - firstRow) * columns * 3);
  }
  return shorten(narrowed, columns, firstRow, down);
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

/** Resample rows of RGBA to the width of the result, as RGB. */
function narrow(strip, width, count, firstColumn, across, target, at) {
  for (let row = 0; row < count; row++) {
    for (const { first, weights } of across) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let from = 4 * (row * width + first - firstColumn);
      for (let k = 0; k < weights.length; k++, from += 4) {
        const weight = weights[k];
        red += strip[from] * weight;
        green += strip[from + 1] * weight;
        blue += strip[from + 2] * weight;
      }
      target[at++] = toByte(red);
      target[at++] = toByte(green);
      target[at++] = toByte(blue);
    }
  }
}

/** Resample RGB along its columns to the height of the result. */
function shorten(source, columns, firstRow, down) {
  const stride = columns * 3;
  const target = new Uint8Array(down.length * stride);
  const sums = new Int32Array(stride);
  down.forEach(({ first, weights }, row) => {
    sums.fill(HALF);
    for (let k = 0; k < weights.length; k++) {
      const weight = weights[k];
      const from = (first - firstRow + k) * stride;
      for (let i = 0; i < stride; i++) sums[i] += source[from + i] * weight;
    }
    for (let i = 0; i < stride; i++) target[row * stride + i] = toByte(sums[i]);
  });
  return target;
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
