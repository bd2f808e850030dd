/** Computes predictions beside the page, which stays responsive. */

import { loadModel, PhotoError } from './headstart-web/headstart-web.js';
import * as ort from './onnxruntime-web/ort.wasm.min.mjs';

ort.env.wasm.wasmPaths = new URL('./onnxruntime-web/', import.meta.url).href;
let model;

onmessage = async ({ data: { id, load, photo } }) => {
  try {
    const found = load ? await open(load) : await answer(photo);
    postMessage({ id, found });
  } catch (error) {
    postMessage({ id, error: { message: error.message, isOfPhoto: error instanceof PhotoError } });
  }
};

async function open(address) {
  model = await loadModel(address, { ort });
  const { task, targets = [] } = model.info;
  const name = model.info.name ?? '';
  return { name, task, classNames: model.classNames, targets, sha256: model.sha256, hasHeatMap: model.hasHeatMap };
}

async function answer(photo) {
  const { outputs, ...found } = await model.predict(photo);
  return found;
}
