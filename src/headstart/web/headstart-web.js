/**
 * headstart-web: predicts with a `model.onnx` of Headstart's in the browser. Photos do not leave the device.
 *
 *     import * as ort from './onnxruntime-web/ort.wasm.min.mjs';
 *     import { loadModel } from './headstart-web.js';
 *
 *     const model = await loadModel('model.onnx', { ort });
 *     const prediction = await model.predict(input.files[0]);
 *     console.log(prediction.label, prediction.probability);
 *
 * The photo is decoded by the browser, resized exactly as Python does it (`resample.js`), and given to
 * onnxruntime-web. These files are ES modules that need no build step. They also work in a Worker, which keeps a page
 * responsive while a photo is computed.
 */

import { predictionOf } from './answers.js';
import { HeadstartError, PhotoError } from './errors.js';
import { readInfo } from './model-file.js';
import { openPhoto } from './photo.js';
import { preprocess } from './preprocess.js';
import { failureOf } from './self-test.js';

export { HeadstartError, PhotoError };

/**
 * Load a model, and run the self-test in its file (four inputs).
 *
 * @param {string | URL | Blob | ArrayBuffer | Uint8Array} source Address or content of a `model.onnx`.
 * @param {object} options
 * @param {object} options.ort The module onnxruntime-web. It computes with WebAssembly in one thread, which needs no
 *   special headers of the server.
 * @returns {Promise<Model>}
 * @throws {HeadstartError} The file cannot be fetched, is not a model of Headstart's, is damaged, cannot be run, or
 *   fails its self-test: this browser computes something else than the model computed when it was written.
 */
export async function loadModel(source, { ort } = {}) {
  if (!ort?.InferenceSession) {
    throw new HeadstartError('Give the module onnxruntime-web: loadModel(source, { ort }).');
  }
  const isAddress = typeof source === 'string' || source instanceof URL;
  const name = isAddress ? String(source) : 'The model';
  const bytes = await bytesOf(source);
  const info = await readInfo(bytes, name);
  ort.env.wasm.numThreads = 1;
  let model;
  let failure = '';
  try {
    model = new Model(await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] }), info, ort);
    if (info.self_test) failure = await failureOf(model); // older files have none
  } catch (error) {
    await model?.close();
    throw new HeadstartError(`${name} is undamaged, but onnxruntime-web cannot run it: ${error.message}`);
  }
  if (failure) {
    await model.close();
    throw new HeadstartError(
      `${name} is refused: its outputs for the inputs of its self-test differ from those in the file: ${failure}; ` +
        '0.001 is allowed. Try another version of onnxruntime-web, or verify the file: headstart verify',
    );
  }
  return model;
}

/** A trained model. Create it with `loadModel`. */
export class Model {
  #session;
  #ort;
  #previous = Promise.resolve(); // onnxruntime-web computes one photo at a time

  /**
   * @param {object} session Of onnxruntime-web.
   * @param {object} info Description of the model.
   * @param {object} ort The module onnxruntime-web.
   */
  constructor(session, info, ort) {
    this.#session = session;
    this.#ort = ort;
    /** Description of the model, as its file contains it: `task`, `class_names`, `preprocessing` and others. */
    this.info = info;
  }

  /** The classes, in the order of the outputs. */
  get classNames() {
    return this.info.class_names;
  }

  /** Whether predictions have a heat map. */
  get hasHeatMap() {
    return this.#session.outputNames.includes('heat_map');
  }

  /**
   * Predict one photo.
   *
   * @param {Blob | ArrayBuffer | ArrayBufferView | string | URL | ImageBitmapSource} photo A file or other Blob, the
   *   bytes of a file, an address, or something with pixels: ImageBitmap, ImageData, an img, video or canvas element.
   *   A file gives the same answer as in Python; pixels are taken as they are displayed.
   * @returns {Promise<import('./answers.js').Prediction>}
   * @throws {PhotoError} The photo cannot be fetched or decoded. The message says why.
   */
  async predict(photo) {
    const opened = await openPhoto(photo);
    try {
      const outputs = await this.run(preprocess(opened, this.info));
      return predictionOf(outputs, this.info, opened);
    } finally {
      opened.close();
    }
  }

  /**
   * Return a photo as the network gets it.
   *
   * @param {Parameters<Model['predict']>[0]} photo As in `predict`.
   * @returns {Promise<Uint8Array>} size_px × size_px × 3, RGB, row by row.
   * @throws {PhotoError} As in `predict`.
   */
  async pixels(photo) {
    const opened = await openPhoto(photo);
    try {
      return preprocess(opened, this.info);
    } finally {
      opened.close();
    }
  }

  /**
   * Return the outputs of the model file for pixels.
   *
   * @param {Uint8Array} pixels size_px × size_px × 3, RGB, row by row.
   * @returns {Promise<Record<string, {data: Float32Array, shape: number[]}>>} By the name of the output.
   */
  async run(pixels) {
    const sizePx = this.info.preprocessing.size_px;
    const images = new this.#ort.Tensor('uint8', pixels, [1, sizePx, sizePx, 3]);
    const running = this.#previous.then(() => this.#session.run({ images }));
    this.#previous = running.catch(() => {}); // an error belongs to its own photo
    const found = Object.entries(await running);
    return Object.fromEntries(found.map(([name, { data, dims }]) => [name, { data, shape: dims.slice(1) }]));
  }

  /** Free the memory of the model. */
  async close() {
    await this.#previous;
    await this.#session.release();
  }
}

async function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  let response;
  try {
    response = await fetch(source);
  } catch (error) {
    throw new HeadstartError(`${source} cannot be fetched: ${error.message}`);
  }
  if (!response.ok) {
    throw new HeadstartError(`${source} cannot be fetched: ${response.status} ${response.statusText}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}
