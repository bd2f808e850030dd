/** The back end of `headstart serve`: photos are predicted by the server that the page comes from. */

import { ModelReplaced, NoAnswer, TokenNeeded, Unavailable } from './back-end-errors.js';
import { say } from './texts.js';

const KEY = 'headstart-token';
const IS_TOKEN = /^[\x21-\x7e]+$/;
const MOST_TRIES = 20;
const MOST_SECONDS = 30;

/** Whether photos stay on the device. */
export const isLocal = false;

/** Number of photos that are sent at a time. */
export const atATime = 4;

/** Use a token from now on, in this tab. It is sent in a header, never in an address. */
export function useToken(token) {
  sessionStorage.setItem(KEY, token);
}

/**
 * Return the models of the server.
 *
 * @returns {Promise<object[]>} `{ name, task, classNames, targets, sha256, hasHeatMap, hasSimilar }` of each.
 * @throws {TokenNeeded | Unavailable}
 */
export async function connect() {
  const { models } = await (await request('v1/models')).json();
  return models.map((each) => ({
    name: each.name,
    task: each.task,
    classNames: each.class_names ?? [],
    targets: each.targets ?? [],
    sha256: each.sha256,
    hasHeatMap: each.has_heat_maps,
    hasSimilar: each.has_similar,
  }));
}

/**
 * Predict a photo.
 *
 * @param {File} photo
 * @param {{ model: object, heatMap?: boolean, similar?: number, signal?: AbortSignal }} options `model` is one of
 *   `connect`'s; `similar` is the number of similar training photos.
 * @returns {Promise<object>} A prediction with the fields of `headstart-web`, and `similar`: `{ name, label, similarity,
 *   thumbnail }` of each similar training photo.
 * @throws {NoAnswer | TokenNeeded | ModelReplaced | Unavailable}
 */
export async function predict(photo, { model, heatMap = false, similar = 0, signal }) {
  if (photo.size === 0) throw new NoAnswer(say('emptyFile'));
  const query = new URLSearchParams({ model: model.name, top_k: String(MOST_CLASSES) });
  if (heatMap) query.set('heat_map', '1');
  if (similar) query.set('similar', String(similar));
  const headers = { 'Content-Type': 'application/octet-stream' };
  const response = await request(`v1/predict?${query}`, { method: 'POST', body: photo, headers, signal });
  const { predictions, model_sha256 } = await response.json();
  if (model_sha256 !== model.sha256) throw new ModelReplaced(say('replaced'));
  if (predictions[0].error) throw new NoAnswer(predictions[0].error.message);
  return predictionOf(predictions[0]);
}

const MOST_CLASSES = 1000;

function predictionOf(found) {
  const shares = Object.entries(found.probabilities ?? {}).map(([label, probability]) => ({ label, probability }));
  return {
    label: found.label ?? null,
    probability: found.probability ?? null,
    probabilities: shares.sort((a, b) => b.probability - a.probability), // JSON.parse sorts names such as "10"
    labels: found.labels ?? [],
    numbers: found.numbers ?? {},
    box: found.box ?? null,
    unknown: found.unknown ?? null,
    unknownScore: found.unknown_score ?? null,
    heatMap: found.heat_map ?? null,
    similar: (found.similar ?? []).map((each) => ({ ...each, thumbnail: each.thumbnail && jpegOf(each.thumbnail) })),
  };
}

const jpegOf = (base64) => new Blob([Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0))], { type: 'image/jpeg' });

/** Return the response to a request; a server that is busy is asked again when it says. */
async function request(address, { headers = {}, signal, ...options } = {}) {
  const token = sessionStorage.getItem(KEY);
  if (token !== null && !IS_TOKEN.test(token)) throw new TokenNeeded(say('tokenWrong')); // it does not fit into a header
  const sent = token === null ? headers : { ...headers, Authorization: `Bearer ${token}` };
  for (let tries = 1; ; tries++) {
    let response;
    try {
      response = await fetch(address, { ...options, headers: sent, signal, cache: 'no-store', credentials: 'same-origin' });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unavailable(say('unreachable'));
    }
    if (response.ok) return response;
    const isBusy = response.status === 503 && tries < MOST_TRIES;
    if (!isBusy) throw await errorOf(response, token);
    const seconds = Number(response.headers.get('Retry-After')) || 1;
    await pause(Math.min(seconds, MOST_SECONDS) * 1000, signal);
  }
}

async function errorOf(response, token) {
  if (response.status === 401) return new TokenNeeded(token === null ? '' : say('tokenWrong'));
  // What is not from Headstart may come from a proxy.
  let message = response.status === 413 ? say('tooLarge') : `${response.status} ${response.statusText}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // `message` stays.
  }
  return response.status < 500 ? new NoAnswer(message) : new Unavailable(message);
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
