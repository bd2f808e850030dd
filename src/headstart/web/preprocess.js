/** From an open photo to the network's input, as in Headstart's `images/preprocess.py`. */

import { resize } from './resample.js';

const GREY = 128; // of the bars that `pad` adds; `images/adjust.py`

/**
 * Convert a photo to the network's size. Resizing and cropping are one resampling.
 *
 * @param {import('./photo.js').OpenPhoto} photo
 * @param {object} info Description of the model. Of its `versions`, Pillow's decides how tall photos are resized:
 *   they get the pixels that the model was trained on.
 * @returns {Uint8Array} size_px × size_px × 3, RGB.
 */
export function preprocess(photo, info) {
  const settings = info.preprocessing;
  const pillow = parseInt(info.versions?.pillow, 10) || undefined;
  const { width, height, read } = photo;
  const sizePx = settings.size_px;
  const box = visiblePart(width, height, settings);
  const [left, top, right, bottom] = filledPart(box, settings);
  const content = resize(read, width, height, box, right - left, bottom - top, settings.interpolation, pillow);
  if (right - left === sizePx && bottom - top === sizePx) return content;
  const canvas = new Uint8Array(sizePx * sizePx * 3).fill(GREY);
  const rowBytes = (right - left) * 3;
  for (let row = 0; row < bottom - top; row++) {
    canvas.set(content.subarray(row * rowBytes, (row + 1) * rowBytes), ((top + row) * sizePx + left) * 3);
  }
  return canvas;
}

/**
 * Convert a box from the network's input to its photo.
 *
 * @param {ArrayLike<number>} shares xmin, ymin, xmax, ymax as fractions of the input's sides.
 * @param {number} width Width of the photo in pixels.
 * @param {number} height Height of the photo in pixels.
 * @param {object} settings `preprocessing` of the model's description.
 * @returns {number[]} The same in pixels of the photo, clipped to the photo.
 */
export function boxInPhoto(shares, width, height, settings) {
  const sides = [width, height, width, height];
  return placed(shares, width, height, settings).map((place, i) => Math.min(sides[i], Math.max(0, place)));
}

/** Return left, top, right, bottom of the whole input in pixels of the photo; it is more than the photo with `pad`. */
export const areaInPhoto = (width, height, settings) => placed([0, 0, 1, 1], width, height, settings);

/** Convert a box as `boxInPhoto` does, without clipping it. */
function placed(shares, width, height, settings) {
  const seen = visiblePart(width, height, settings);
  const filled = filledPart(seen, settings);
  return Array.from(shares, (share, i) => {
    const axis = i % 2;
    const scale = (seen[axis + 2] - seen[axis]) / (filled[axis + 2] - filled[axis]);
    return seen[axis] + (share * settings.size_px - filled[axis]) * scale;
  });
}

/** Return left, top, right, bottom of what the network sees, in pixels of the photo. */
function visiblePart(width, height, settings) {
  if (settings.resize !== 'crop') return [0, 0, width, height];
  const side = settings.crop_fraction * Math.min(width, height);
  return [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2];
}

/** Return left, top, right, bottom of the part of the input that the photo fills: all of it, or less with `pad`. */
function filledPart(box, settings) {
  const sizePx = settings.size_px;
  if (settings.resize !== 'pad') return [0, 0, sizePx, sizePx];
  const [width, height] = [box[2] - box[0], box[3] - box[1]];
  const scale = sizePx / Math.max(width, height);
  const [columns, rows] = [width, height].map((side) => Math.max(1, roundHalfToEven(scale * side)));
  const left = Math.floor((sizePx - columns) / 2);
  const top = Math.floor((sizePx - rows) / 2);
  return [left, top, left + columns, top + rows];
}

/** Round as Python does: 2.5 becomes 2, and 3.5 becomes 4. */
function roundHalfToEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}
