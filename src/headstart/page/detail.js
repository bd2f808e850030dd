/** Shows one photo with its answer. */

import { answerOf } from './answers.js';
import { button, make, named } from './elements.js';
import { drawHeat } from './heat.js';
import { similarPhotos } from './similar.js';
import { isolated, number, percent, say } from './texts.js';

const MOST_BARS = 5;

/**
 * Show a photo.
 *
 * @param {HTMLElement} section Where; its content is replaced.
 * @param {object} photo `{ name, file, prediction, error }`.
 * @param {object} options
 * @param {object} options.model The model that has predicted it.
 * @param {() => Promise<object>} options.explain Returns the heat map of the photo.
 * @param {(() => Promise<object[]>) | null} options.similar Returns similar training photos; null if none are shown.
 * @param {{ back: () => void, step: (by: number) => void, index: number, count: number } | null} options.among What
 *   leads to the other photos; null if there is only one.
 */
export function showDetail(section, photo, { model, explain, similar, among }) {
  const image = make('img', { alt: photo.name });
  const frame = make('span', { class: 'frame' }, image);
  const caption = make('figcaption', {}, named(photo.name));
  const figure = make('figure', { class: 'picture' }, frame, caption);
  image.onerror = () => {
    URL.revokeObjectURL(image.src);
    frame.replaceChildren(make('span', { class: 'no-picture' }, say('cannotShow')));
  };
  image.onload = () => {
    URL.revokeObjectURL(image.src);
    if (photo.prediction?.box) addBox(frame, image, photo.prediction.box, caption);
  };
  image.src = URL.createObjectURL(photo.file);
  const answer = make('div', { class: 'reply' }, ...answerParts(photo, model));
  if (photo.prediction && model.hasHeatMap && photo.prediction.probabilities.length) {
    answer.append(heatChoice(image, frame, caption, photo, explain));
  }
  if (photo.prediction && similar) answer.append(similarPhotos(similar));
  section.replaceChildren(
    ...(among ? [steps(among)] : []),
    make('div', { class: 'photo' }, figure, answer),
  );
}

function steps({ back, step, index, count }) {
  return make(
    'p',
    { class: 'buttons' },
    button(say('back'), back),
    button(say('previous'), () => step(-1), { disabled: index === 0 }),
    button(say('next'), () => step(1), { disabled: index === count - 1 }),
    make('span', { class: 'quiet' }, `${index + 1} / ${count}`),
  );
}

function answerParts({ prediction, error }, model) {
  const title = make('h2', { id: 'detail-title', class: 'quiet' }, say('result'));
  if (error) return [title, make('p', { class: 'message is-error' }, error)];
  if (!prediction) return [title, make('p', {}, say('waiting'))];
  const none = prediction.unknown
    ? [make('div', { class: 'message none' }, make('strong', {}, say('none')), make('p', {}, say('noneWhy')))]
    : [];
  const isNumbers = Object.keys(prediction.numbers).length > 0;
  const said = isNumbers ? numbersOf(prediction) : make('p', { class: 'answer' }, answerOf(prediction, model));
  return [title, ...none, said, ...(prediction.probabilities.length ? [bars(prediction, model)] : [])];
}

function numbersOf({ numbers }) {
  const cells = Object.entries(numbers).flatMap(([name, value]) => [
    make('dt', {}, named(name)),
    make('dd', { class: 'answer' }, number(value)),
  ]);
  return make('dl', {}, ...cells);
}

function bars(prediction, model) {
  const answers = model.task === 'multilabel' ? prediction.labels : [prediction.label];
  const rows = prediction.probabilities.map(({ label, probability }) => {
    const fill = make('div', { class: 'fill' });
    fill.style.width = `${100 * probability}%`;
    const line = make('div', { class: 'line' }, make('span', {}, named(label)), make('span', {}, percent(probability)));
    return make(
      'li',
      { class: answers.includes(label) ? 'is-answer' : '' },
      line,
      make('div', { class: 'track', 'aria-hidden': 'true' }, fill),
    );
  });
  const list = make('ul', { class: 'bars' });
  const whole = make('div', {}, list);
  const show = (all) => {
    list.replaceChildren(...(all ? rows : rows.slice(0, MOST_BARS)));
    toggle?.replaceChildren(say(all ? 'fewer' : 'all', { count: rows.length }));
    toggle?.setAttribute('aria-expanded', String(all));
  };
  const toggle =
    rows.length > MOST_BARS
      ? button('', () => show(toggle.getAttribute('aria-expanded') === 'false'), { class: 'plain' })
      : null;
  if (toggle) whole.append(toggle);
  show(false);
  return whole;
}

function addBox(frame, image, [left, top, right, bottom], caption) {
  const box = make('span', { class: 'box' });
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  box.style.left = `${(100 * left) / width}%`;
  box.style.top = `${(100 * top) / height}%`;
  box.style.width = `${(100 * (right - left)) / width}%`;
  box.style.height = `${(100 * (bottom - top)) / height}%`;
  frame.append(box);
  caption.append(make('br'), say('boxOf'));
}

function heatChoice(image, frame, caption, photo, explain) {
  const note = make('span', {});
  caption.append(note);
  const choice = make('input', { type: 'checkbox' });
  choice.onchange = async () => {
    frame.querySelector('canvas')?.remove();
    note.replaceChildren();
    if (!choice.checked) return;
    try {
      const heatMap = await explain(photo);
      if (!choice.checked || !image.naturalWidth) return;
      frame.append(drawHeat(image, heatMap));
      note.replaceChildren(make('br'), say('heatOf', { label: isolated(heatMap.label) }));
    } catch (error) {
      note.replaceChildren(make('br'), error.message);
    }
  };
  return make('p', {}, make('label', {}, choice, ' ', say('show')));
}
