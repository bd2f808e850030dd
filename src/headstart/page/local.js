/** The back end of `headstart export --to web`: photos are predicted on this device, in a worker. */

import { NoAnswer, Unavailable } from './back-end-errors.js';

/** Whether photos stay on the device. */
export const isLocal = true;

/** Number of photos that are predicted at a time: the network computes one, while the next is decoded. */
export const atATime = 2;

const waiting = new Map();
let worker;
let last = 0;

/**
 * Load the model beside the page.
 *
 * @returns {Promise<object[]>} `{ name, task, classNames, targets, sha256, hasHeatMap }` of the one model.
 * @throws {Unavailable} It cannot be loaded.
 */
export async function connect() {
  if ('serviceWorker' in navigator) {
    // Without `updateViaCache`, `files.js` would come from the browser's cache, and a new version would not be seen.
    const registered = navigator.serviceWorker.register('service-worker.js', { updateViaCache: 'none' });
    registered.catch(() => {}); // the page then needs a connection
  }
  worker?.terminate(); // of an attempt before
  worker = new Worker('worker.js', { type: 'module' });
  worker.onmessage = ({ data: { id, found, error } }) => {
    const asked = waiting.get(id);
    if (!asked) return; // the answer comes after a fault of the worker, of which the page has been told
    waiting.delete(id);
    const { resolve, reject } = asked;
    if (error) reject(error.isOfPhoto ? new NoAnswer(error.message) : new Unavailable(error.message));
    else resolve(found);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const { reject } of waiting.values()) reject(new Unavailable(event.message ?? 'worker.js'));
    waiting.clear();
  };
  return [await ask({ load: 'model.onnx' })];
}

/**
 * Predict a photo.
 *
 * @param {File} photo
 * @returns {Promise<object>} A prediction with the fields of `headstart-web`.
 * @throws {NoAnswer | Unavailable}
 */
export async function predict(photo, { signal } = {}) {
  signal?.throwIfAborted();
  return ask({ photo });
}

/** No token is asked for. */
export function useToken() {}

function ask(message) {
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...message });
  });
}
