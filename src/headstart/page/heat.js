/** Draws a heat map on a photo, as Headstart's `images/heat.py` does. */

const COLOURS = [[34, 14, 84], [130, 26, 116], [214, 62, 78], [250, 148, 38], [255, 246, 160]];
const MOST_OPAQUE = 0.6;
const LIGHTEST = 0.85; // of the grey photo, so that the lightest colour shows on white, too
const LONGEST_PX = 1024;

/**
 * Draw a photo in grey with the colours of a heat map.
 *
 * @param {HTMLImageElement} image The photo.
 * @param {{ values: number[][], area: number[] }} heatMap Values by row and column, and the part of the photo that they
 *   cover: left, top, right, bottom in pixels of the upright photo, which may go beyond its edges.
 * @returns {HTMLCanvasElement} As large as the photo, or smaller.
 */
export function drawHeat(image, { values, area }) {
  const scale = Math.min(1, LONGEST_PX / Math.max(image.naturalWidth, image.naturalHeight));
  const width = Math.max(1, Math.round(image.naturalWidth * scale));
  const height = Math.max(1, Math.round(image.naturalHeight * scale));
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  const [left, top, right, bottom] = area.map((side) => side * scale);
  const rows = along(values.length, height, top, bottom);
  const columns = along(values[0].length, width, left, right);
  const largest = Math.max(1e-12, ...values.flat());
  for (let y = 0; y < height; y++) {
    if (!rows[y]) continue;
    const [row, below, down] = rows[y];
    for (let x = 0; x < width; x++) {
      if (!columns[x]) continue;
      const [column, beside, across] = columns[x];
      const upper = values[row][column] * (1 - across) + values[row][beside] * across;
      const lower = values[below][column] * (1 - across) + values[below][beside] * across;
      const heat = Math.min(1, Math.max(0, (upper * (1 - down) + lower * down) / largest));
      paint(pixels.data, (y * width + x) * 4, heat);
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Return, for each pixel along a side, two positions of the map and how much the second counts; null outside. */
function along(count, numPixels, first, last) {
  return Array.from({ length: numPixels }, (_, pixel) => {
    const place = ((pixel + 0.5 - first) / (last - first)) * count;
    if (place < 0 || place >= count) return null;
    const centred = Math.min(count - 1, Math.max(0, place - 0.5));
    const before = Math.floor(centred);
    return [before, Math.min(before + 1, count - 1), centred - before];
  });
}

function paint(data, at, heat) {
  const grey = LIGHTEST * (0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]);
  const place = heat * (COLOURS.length - 1);
  const before = Math.min(Math.floor(place), COLOURS.length - 2);
  const opacity = MOST_OPAQUE * Math.sqrt(heat);
  for (let channel = 0; channel < 3; channel++) {
    const one = COLOURS[before][channel];
    const colour = one + (COLOURS[before + 1][channel] - one) * (place - before);
    data[at + channel] = opacity * colour + (1 - opacity) * grey;
  }
}
