/** What a prediction says, in the words of the page, for all tasks. */

import { isolated, listOf, number, say } from './texts.js';

/** Less sure than this is doubtful. */
export const SURE = 0.8;

/** Return whether a model predicts classes with probabilities. One that finds boxes around a single class does not. */
export const predictsClasses = ({ task, classNames }) => classNames.length > (task === 'box' ? 1 : 0);

/** Return the answer of a prediction in one line; of a box, its horizontal and vertical extent in pixels. */
export function answerOf({ label, labels, numbers, box }, model) {
  const parts = [];
  if (model.task === 'multilabel') parts.push(listOf(labels) || say('noLabels'));
  else if (label !== null) parts.push(isolated(label));
  for (const [name, value] of Object.entries(numbers)) parts.push(`${isolated(name)} ${number(value)}`);
  if (box && label === null) parts.push(extentOf(box.map(Math.round)));
  return parts.join(' · ');
}

const extentOf = ([xmin, ymin, xmax, ymax]) => `x ${xmin}–${xmax}, y ${ymin}–${ymax}`;

/** Return the probability of the answer; null if the task has none. Of several labels, it is the least sure one's. */
export function sureness({ probability, probabilities }, model) {
  if (model.task !== 'multilabel') return probability;
  return probabilities.length ? Math.min(...probabilities.map((each) => Math.max(each.probability, 1 - each.probability))) : null;
}

/** Return how doubtful a prediction is, 0..1, or 2 if the photo is probably of none of the classes; null if unknown. */
export function doubtOf(prediction, model) {
  if (prediction.unknown) return 2;
  const sure = sureness(prediction, model);
  return sure === null ? null : 1 - sure;
}

/** Return how sure a prediction is, in words. */
export function doubtText(prediction, model) {
  const doubt = doubtOf(prediction, model);
  if (doubt === null) return '';
  if (doubt === 2) return say('noneShort');
  return doubt > 1 - SURE ? say('doubtful') : say('sure');
}

/** Return the table of predictions as CSV, with the columns of `headstart predict`. */
export function csvOf(photos, model) {
  const { columns, cells } = columnsOf(model);
  const foreign = photos.some(({ prediction }) => (prediction?.unknown ?? null) !== null) ? ['unknown'] : [];
  const rows = [['path', ...columns, 'error', ...foreign]];
  for (const { name, prediction, error } of photos) {
    const said = prediction ? cells(prediction) : columns.map(() => '');
    const unknown = foreign.map(() => (prediction?.unknown == null ? '' : Number(prediction.unknown)));
    rows.push([isFormula(name) ? `./${name}` : name, ...said, error ?? '', ...unknown]);
  }
  return rows.map((row) => row.map(quoted).join(',') + '\n').join('');
}

function columnsOf(model) {
  const { task, targets } = model;
  const ofClass = predictsClasses(model) && task !== 'multilabel' ? ['label', 'probability'] : [];
  const cellsOfClass = (found) => (ofClass.length ? [labelOf(found.label), found.probability] : []);
  if (task === 'multilabel') return { columns: ['labels'], cells: ({ labels }) => [labelOf(labels.join('|'))] };
  if (task === 'regression') return { columns: targets, cells: ({ numbers }) => targets.map((name) => numbers[name]) };
  if (task === 'box') {
    const columns = ['xmin', 'ymin', 'xmax', 'ymax', ...ofClass];
    return { columns, cells: (found) => [...found.box, ...cellsOfClass(found)] };
  }
  return { columns: ofClass, cells: cellsOfClass };
}

/** Return whether a spreadsheet would compute a text; `./` before such a path does not change which file it names. */
const isFormula = (text) => /^[=+\-@\t\r]/.test(text);

/** Return the name of a class, which a spreadsheet must not compute either; names such as "-1" and "+" are no harm. */
const labelOf = (name) => (isFormula(name) && name.length > 2 && Number.isNaN(Number(name)) ? `'${name}` : name);

const quoted = (cell) => (/[",\r\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell));
