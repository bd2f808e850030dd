/**
 * The EXIF orientation of PNG and WebP, where browsers differ: Chromium applies it to PNG but not to WebP.
 *
 * It is read here, and hidden from the browser, so that it is applied exactly once in every browser. All browsers
 * apply the orientation of JPEG and AVIF in the same way; it is left to them.
 */

const ORIENTATION = 0x0112;

/**
 * Return the EXIF orientation, 1 to 8, and the photo without it.
 *
 * @param {Blob} blob A photo.
 * @param {string | undefined} format Its format, as `formatOf` names it.
 * @returns {Promise<{orientation: number, blob: Blob}>}
 */
export async function takeOrientation(blob, format) {
  if (format !== 'PNG' && format !== 'WebP') return { orientation: 1, blob };
  const view = new DataView(await blob.arrayBuffer());
  const chunk = format === 'PNG' ? pngChunk(view, 'eXIf') : webpChunk(view, 'EXIF');
  if (!chunk) return { orientation: 1, blob };
  const { start, content, end } = chunk;
  // A PNG's chunk is left out. WebP stores its whole size, so the chunk gets a name that decoders skip.
  const hidden =
    format === 'PNG'
      ? [blob.slice(0, start), blob.slice(end)]
      : [blob.slice(0, start), 'JUNK', blob.slice(start + 4)];
  return { orientation: orientationOf(content), blob: new Blob(hidden, { type: blob.type }) };
}

/**
 * Return the matrix that turns the stored pixels upright: [a, b, c, d, e, f], as `setTransform` takes them.
 *
 * @param {number} orientation EXIF orientation, 1 to 8.
 * @param {number} width Width of the stored pixels.
 * @param {number} height Height of the stored pixels.
 */
export function uprightMatrix(orientation, width, height) {
  return [
    [1, 0, 0, 1, 0, 0],
    [-1, 0, 0, 1, width, 0],
    [-1, 0, 0, -1, width, height],
    [1, 0, 0, -1, 0, height],
    [0, 1, 1, 0, 0, 0],
    [0, 1, -1, 0, height, 0],
    [0, -1, -1, 0, height, width],
    [0, -1, 1, 0, 0, width],
  ][orientation - 1];
}

const name = (view, at) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4));

/** A PNG is a signature of 8 bytes and chunks: size, name, content, checksum of 4 bytes. */
function pngChunk(view, wanted) {
  for (let at = 8; at + 12 <= view.byteLength; ) {
    const size = view.getUint32(at);
    const end = at + 12 + size;
    if (end > view.byteLength) return null;
    if (name(view, at + 4) === wanted) return { start: at, content: new DataView(view.buffer, at + 8, size), end };
    at = end;
  }
  return null;
}

/** A WebP is a header of 12 bytes and chunks: name, size, content, and a byte where the size is odd. */
function webpChunk(view, wanted) {
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    const end = at + 8 + size;
    if (end > view.byteLength) return null;
    if (name(view, at) === wanted) return { start: at, content: new DataView(view.buffer, at + 8, size), end };
    at = end + (size % 2);
  }
  return null;
}

/** Return the orientation in EXIF, which is a TIFF file; 1 if it has none or is damaged. */
function orientationOf(exif) {
  try {
    const start = exif.getUint32(0) === 0x45786966 ? 6 : 0; // some writers begin with "Exif\0\0", as in a JPEG
    const little = exif.getUint16(start) === 0x4949;
    const directory = start + exif.getUint32(start + 4, little);
    for (let entry = 0; entry < exif.getUint16(directory, little); entry++) {
      const at = directory + 2 + 12 * entry;
      if (exif.getUint16(at, little) !== ORIENTATION) continue;
      const value = exif.getUint16(at + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return 1;
}
