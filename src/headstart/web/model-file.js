/**
 * Reads what Headstart has written into a `model.onnx` beside the network: its description and its checksum.
 *
 * An ONNX file is one protobuf message: fields, one after the other, each with a tag (field number and wire type)
 * and a value. Field 14, `metadata_props`, repeats: each is a message with the key as field 1 and the value as
 * field 2. The last one is the SHA-256 of all bytes before it.
 */

import { HeadstartError } from './errors.js';

const NEWEST_FORMAT = 6;
const METADATA_PROPS = 14;
const [VARINT, EIGHT_BYTES, LENGTH_DELIMITED, FOUR_BYTES] = [0, 1, 2, 5];

/**
 * Return the description in a model file.
 *
 * @param {Uint8Array} bytes Content of a `model.onnx`.
 * @param {string} name Name of the file in errors.
 * @returns {Promise<object>} The description, with the keys that Headstart's docs/reference/compatibility.md lists.
 * @throws {HeadstartError} The file is not a model of Headstart's, is damaged, or is of a newer version.
 */
export async function readInfo(bytes, name) {
  const found = metadataOf(bytes);
  if (!found?.has('headstart') || !found.has('sha256')) {
    throw new HeadstartError(
      `${name} is not a Headstart model, or is cut short. Use the model.onnx of a run folder.`,
    );
  }
  const seal = found.get('sha256');
  const digest = await sha256(bytes.subarray(0, seal.start));
  if (digest !== null && digest !== seal.value) {
    throw new HeadstartError(
      `${name} is damaged: its content does not match its checksum. Copy it from its run folder again.`,
    );
  }
  const info = parsed(found.get('headstart').value);
  if (typeof info?.format !== 'number' || !info.preprocessing) {
    throw new HeadstartError(`${name} is refused: its description is not as Headstart writes it.`);
  }
  if (info.format > NEWEST_FORMAT) {
    throw new HeadstartError(
      `${name} was written by a newer Headstart, in format ${info.format}; this module reads up to ` +
        `${NEWEST_FORMAT}. Use the headstart-web of that version.`,
    );
  }
  return info;
}

/** Return the value of JSON; null if it is none. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Return the last value and start of each key of `metadata_props`; null if the bytes are not a protobuf message. */
function metadataOf(bytes) {
  const found = new Map();
  try {
    for (const { number, start, content } of fields(bytes)) {
      if (number !== METADATA_PROPS || !content) continue;
      const entry = new Map([...fields(content)].map((field) => [field.number, text(field.content)]));
      found.set(entry.get(1), { value: entry.get(2), start });
    }
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) return null;
    throw error;
  }
  return found;
}

/** Yield the fields of a protobuf message: number, position, and for wire type 2 the bytes. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= bytes.length || factor > 2 ** 63) throw new RangeError('not a protobuf message');
      const byte = bytes[at++];
      value += (byte & 127) * factor; // not shifted: sizes may exceed 32 bits
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const tag = varint();
    let content = null;
    if (tag % 8 === LENGTH_DELIMITED) {
      const size = varint();
      content = bytes.subarray(at, at + size);
      at += size;
    } else if (tag % 8 === VARINT) varint();
    else if (tag % 8 === EIGHT_BYTES) at += 8;
    else if (tag % 8 === FOUR_BYTES) at += 4;
    else throw new RangeError('not a protobuf message');
    if (at > bytes.length) throw new RangeError('cut short');
    yield { number: Math.floor(tag / 8), start, content };
  }
}

const text = (bytes) => new TextDecoder('utf-8', { fatal: true }).decode(bytes);

/** Return the SHA-256 as hexadecimal digits; null on a page without https, where browsers do not compute it. */
async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
