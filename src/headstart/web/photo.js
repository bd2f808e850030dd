/**
 * Decodes a photo with the browser: upright, in sRGB, on white, as Headstart does it in Python.
 *
 * The browser applies the EXIF orientation of most formats when it makes an ImageBitmap (`orientation.js` does the
 * others), and converts a colour profile to the colour space of the canvas. A canvas stores colours multiplied by their
 * alpha, which would lose levels where pixels are transparent; drawn on white, all pixels are opaque and nothing is
 * lost.
 */

import { PhotoError } from './errors.js';
import { takeOrientation, uprightMatrix } from './orientation.js';

/** Formats by their first bytes, as in Headstart's `images/formats.py`. */
const SIGNATURES = [
  ['JPEG', /^\xff\xd8\xff/],
  ['PNG', /^\x89PNG\r\n\x1a\n/],
  ['WebP', /^RIFF.{4}WEBP/s],
  ['GIF', /^GIF8[79]a/],
  ['BMP', /^BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0{3}/s],
  ['TIFF', /^(?:II[*+]\0|MM\0[*+])/],
  ['AVIF', /^.{4}ftyp(?:avi[fs]|.{8}(?:.{4})*?avi[fs])/s],
  ['HEIC', /^.{4}ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)/s],
  ['PPM', /^P[1-6]\s+(?:\d+\s+\d+\s|#)/],
  ['JPEG 2000', /^(?:\0{3}\x0cjP {2}|\xff\x4f\xff\x51)/],
  ['JPEG XL', /^(?:\0{3}\x0cJXL |\xff\x0a)/],
];
const DECODED = ['JPEG', 'PNG', 'WebP', 'GIF', 'BMP', 'AVIF'];

/**
 * A photo whose pixels can be read.
 *
 * @typedef {object} OpenPhoto
 * @property {number} width Width in pixels, upright.
 * @property {number} height Height in pixels, upright.
 * @property {(left: number, top: number, width: number, height: number) => Uint8ClampedArray} read
 *   Returns a rectangle as RGBA in sRGB, all of it opaque.
 * @property {() => void} close Frees the memory.
 */

/**
 * Open a photo.
 *
 * @param {Blob | ArrayBuffer | ArrayBufferView | string | URL | ImageBitmapSource} source A file or other Blob, the
 *   bytes of a file, an address, or something with pixels: ImageBitmap, ImageData, an img, video or canvas element.
 * @returns {Promise<OpenPhoto>}
 * @throws {PhotoError} The photo cannot be fetched, or the browser cannot decode it.
 */
export async function openPhoto(source) {
  const given = await content(source);
  if (!(given instanceof Blob)) return readable(await bitmapOf(given));
  const head = new Uint8Array(await given.slice(0, 32).arrayBuffer());
  const format = formatOf(head);
  const { orientation, blob } = await takeOrientation(given, format);
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { premultiplyAlpha: 'none' });
  } catch {
    const name = given.name ?? nameOf(source);
    throw new PhotoError(`${name}: ${reason(given, head, format)}`);
  }
  return readable(bitmap, orientation);
}

const nameOf = (source) => (typeof source === 'string' || source instanceof URL ? String(source) : 'The photo');

/** Return the bytes of a photo as a Blob; anything with pixels as it is. */
async function content(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return new Blob([source]);
  if (typeof source !== 'string' && !(source instanceof URL)) return source;
  let response;
  try {
    response = await fetch(source);
  } catch (error) {
    throw new PhotoError(`${source} cannot be fetched: ${error.message}`);
  }
  if (!response.ok) throw new PhotoError(`${source} cannot be fetched: ${response.status} ${response.statusText}`);
  return response.blob();
}

async function bitmapOf(source) {
  try {
    return await createImageBitmap(source, { premultiplyAlpha: 'none' });
  } catch (error) {
    throw new PhotoError(
      `This is not a photo: ${error.message} Give a file, its bytes, an address, or an image, canvas or ImageData.`,
    );
  }
}

function readable(bitmap, orientation = 1) {
  const [a, b, c, d, e, f] = uprightMatrix(orientation, bitmap.width, bitmap.height);
  const sides = [bitmap.width, bitmap.height];
  const [width, height] = orientation < 5 ? sides : sides.reverse();
  let context = null;
  const read = (left, top, columns, rows) => {
    if (context?.canvas.width !== columns || context.canvas.height !== rows) context = contextOf(columns, rows);
    context.resetTransform();
    context.fillRect(0, 0, columns, rows);
    context.setTransform(a, b, c, d, e - left, f - top); // moves pixels, and mixes none
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, columns, rows, { colorSpace: 'srgb' }).data;
  };
  return { width, height, read, close: () => bitmap.close() };
}

function contextOf(width, height) {
  const canvas =
    typeof OffscreenCanvas === 'undefined'
      ? Object.assign(document.createElement('canvas'), { width, height })
      : new OffscreenCanvas(width, height);
  // Read often: the canvas stays in main memory, and no graphics card rounds its colours.
  const context = canvas.getContext('2d', { colorSpace: 'srgb', willReadFrequently: true });
  if (!context) throw new PhotoError(`The browser has no memory for ${width} × ${height} pixels.`);
  context.imageSmoothingEnabled = false;
  context.fillStyle = 'white';
  return context;
}

/** Return the name of the format with these first bytes; undefined if it is unknown. */
export function formatOf(head) {
  const text = String.fromCharCode(...head.subarray(0, 32));
  return SIGNATURES.find(([, pattern]) => pattern.test(text))?.[0];
}

function reason(blob, head, format) {
  if (head.length === 0) return 'empty file';
  if (!format) {
    const looksLikeText = String.fromCharCode(...head).trimStart().startsWith('<');
    return looksLikeText
      ? 'an HTML or SVG page, not a photo: a download that failed?'
      : `not an image in a format that can be read (${DECODED.join(', ')})`;
  }
  if (!DECODED.includes(format)) {
    return `${format}, which this browser cannot decode: save it as JPEG or PNG`;
  }
  return `truncated or damaged ${format}, or too large for this browser (${Math.ceil(blob.size / 1e6)} MB)`;
}
