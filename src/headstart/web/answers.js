/** From the outputs of a model file to a prediction, as in Headstart's `tasks/`. */

import { areaInPhoto, boxInPhoto } from './preprocess.js';

/**
 * The prediction for one photo. Only the fields of the model's task are set.
 *
 * @typedef {object} Prediction
 * @property {string | null} label The most probable class; null if the model predicts several classes or none.
 * @property {number | null} probability Probability of `label`, in 0..1.
 * @property {{label: string, probability: number}[]} probabilities All classes, sorted from the most probable.
 * @property {string[]} labels For several labels: the classes with a probability of at least their threshold,
 *   sorted by probability.
 * @property {Record<string, number>} numbers Predicted numbers by target, in the units of the targets.
 * @property {number[] | null} box xmin, ymin, xmax, ymax in pixels of the upright photo.
 * @property {boolean | null} unknown Whether the photo is probably of none of the classes; null if the model cannot
 *   tell.
 * @property {number | null} unknownScore How foreign the photo is to the classes; larger is more foreign.
 * @property {HeatMap | null} heatMap Where in the photo the most probable class comes from; null if the model file has
 *   no heat map.
 * @property {Record<string, {data: Float32Array, shape: number[]}>} outputs Everything that the model file computes,
 *   by the name of the output, such as `logits`, without the dimension of the batch.
 */

/**
 * What each part of a photo contributes to the most probable class.
 *
 * @typedef {object} HeatMap
 * @property {string} label The class.
 * @property {number[][]} values By row and column of the map. Positive values speak for the class.
 * @property {number} share How much of the features' contribution the map shows, in 0..1.
 * @property {number[]} area left, top, right, bottom of what the map covers, in pixels of the upright photo; it is more
 *   than the photo where that is padded.
 */

/**
 * Return the prediction that follows from a model's outputs.
 *
 * @param {Record<string, {data: Float32Array, shape: number[]}>} outputs Of one photo, by name.
 * @param {object} info Description of the model.
 * @param {{width: number, height: number}} photo Its size, upright, in pixels.
 * @returns {Prediction}
 */
export function predictionOf(outputs, info, photo) {
  const shares = outputs.probabilities?.data ?? [];
  const names = shares.length ? info.class_names : [];
  // Array.sort is stable: classes of equal probability stay in the order of the outputs, as in Python.
  const bestFirst = names.map((_, index) => index).sort((a, b) => shares[b] - shares[a]);
  const probabilities = bestFirst.map((index) => ({ label: names[index], probability: shares[index] }));
  const hasLabels = info.task === 'multilabel';
  const best = hasLabels ? undefined : probabilities[0];
  // Compared as 32-bit numbers, as in Python.
  const reached = bestFirst.filter((index) => hasLabels && shares[index] >= Math.fround(info.thresholds[index]));
  const score = outputs.unknown?.data[0] ?? null;
  const hasHeatMap = Boolean(outputs.heat_map && outputs.heat_map_share);
  const canTell = score !== null && (info.unknown_threshold ?? null) !== null;
  return {
    label: best?.label ?? null,
    probability: best?.probability ?? null,
    probabilities,
    labels: reached.map((index) => names[index]),
    numbers: Object.fromEntries((info.targets ?? []).map((name, i) => [name, outputs.numbers.data[i]])),
    box: outputs.boxes ? boxInPhoto(outputs.boxes.data, photo.width, photo.height, info.preprocessing) : null,
    unknown: canTell ? score > info.unknown_threshold : null,
    unknownScore: canTell ? score : null,
    heatMap: hasHeatMap ? heatMapOf(outputs, probabilities[0].label, info, photo) : null,
    outputs,
  };
}

function heatMapOf({ heat_map: map, heat_map_share: share }, label, info, photo) {
  const [rows, columns] = map.shape;
  const row = (_, index) => Array.from(map.data.subarray(index * columns, (index + 1) * columns));
  const area = areaInPhoto(photo.width, photo.height, info.preprocessing);
  return { label, values: Array.from({ length: rows }, row), share: share.data[0], area };
}
