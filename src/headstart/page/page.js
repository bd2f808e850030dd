/** The page: photos come in, are predicted one after the other, and are shown. */

import { csvOf } from './answers.js';
import * as backEnd from './back-end.js';
import { ModelReplaced, NoAnswer, TokenNeeded } from './back-end-errors.js';
import { showDetail } from './detail.js';
import { button, make } from './elements.js';
import { listen } from './intake.js';
import { List } from './list.js';
import { currentLanguage, isolated, listOf, say, useLanguage } from './texts.js';

const $ = (id) => document.getElementById(id);
const MOST_NAMED = 12; // classes above the photos; all of them are at the end of the page
const NUM_SIMILAR = 3; // training photos beside an answer
const REFRESH_MS = 300; // between two drawings of the table while photos are predicted

let models = [];
let model = null;
let photos = []; // { name, file, prediction, error, similar }
let opened = null; // { photo, among }: what is shown in detail
let running = null; // AbortController of the predictions
const list = new List($('list'), { open: openPhoto, save: saveCsv });

async function start() {
  useLanguage(navigator.language.split('-')[0]);
  $('language').value = currentLanguage();
  $('not-started').remove();
  $('app').hidden = false;
  connectControls();
  $('status').textContent = say('loading');
  await connect();
}

async function connect() {
  try {
    models = await backEnd.connect();
  } catch (error) {
    if (error instanceof TokenNeeded) return askForToken(error.message, connect);
    $('status').textContent = '';
    return tell(say('cannotStart', { reason: error.message }), true, [button(say('again'), connect)]);
  }
  tell(null);
  $('status').textContent = '';
  $('model').replaceChildren(...models.map(({ name }) => make('option', { value: name }, name)));
  $('model-choice').hidden = models.length < 2;
  model = models.find(({ name }) => name === model?.name) ?? models[0];
  $('model').value = model.name;
  describe();
  predictAll();
}

function connectControls() {
  const [files, folder, camera] = [$('files'), $('folder'), $('camera')];
  $('choose').onclick = () => files.click();
  $('choose-folder').onclick = () => folder.click();
  $('take').onclick = () => camera.click();
  listen({ area: $('intake'), files, folder, camera }, take);
  $('language').onchange = ({ target }) => {
    useLanguage(target.value);
    describe();
    show();
  };
  $('model').onchange = ({ target }) => {
    model = models.find(({ name }) => name === target.value);
    forgetAnswers();
    describe();
    predictAll();
  };
}

/** Forget what another model has answered. */
function forgetAnswers() {
  running?.abort();
  running = null;
  photos = photos.map(({ name, file }) => ({ name, file }));
  opened = null;
}

function describe() {
  $('privacy').textContent = say(backEnd.isLocal ? 'privateHere' : 'privateThere');
  const title = model?.name ? say('titleOf', { name: isolated(model.name) }) : say('title');
  document.title = title;
  document.querySelector('h1').textContent = title;
  if (!model) return;
  const more = model.classNames.length - MOST_NAMED;
  const names = listOf(model.classNames.slice(0, MOST_NAMED));
  $('knows').textContent = names
    ? say('knows', { names, more: Math.max(0, more) })
    : say('estimates', { names: listOf(model.targets) });
  const rows = { aboutTask: say('task', { name: model.task }) };
  if (model.classNames.length) rows.aboutClasses = listOf(model.classNames);
  if (model.targets.length) rows.aboutNumbers = listOf(model.targets);
  if (model.sha256) rows.aboutHash = model.sha256;
  const parts = Object.entries(rows).flatMap(([name, text]) => [make('dt', {}, say(name)), make('dd', {}, text)]);
  $('about-model').replaceChildren(...parts);
}

function take({ photos: given, numLeft }) {
  if (!given.length) return tell(say('nothing'), true);
  tell(numLeft ? say('left', { count: numLeft }) : null);
  photos = photos.concat(given);
  opened = given.length === 1 ? { photo: photos.at(-1), among: photos } : null;
  predictAll();
  (opened ? $('detail') : $('list')).focus({ preventScroll: true });
}

/** Predict the photos that have no answer yet; only one such loop runs at a time, and takes photos as they come. */
async function predictAll() {
  if (running || !model) return show();
  const mine = new AbortController();
  running = mine;
  show();
  const taken = new Set();
  const next = () => photos.find((photo) => !photo.prediction && !photo.error && !taken.has(photo));
  const work = async () => {
    for (let photo; !mine.signal.aborted && (photo = next()); ) {
      taken.add(photo);
      await predictOne(photo, mine);
      showSoon();
    }
  };
  try {
    await Promise.all(Array.from({ length: backEnd.atATime }, work));
  } catch (error) {
    if (!mine.signal.aborted) {
      mine.abort();
      if (running === mine) running = null;
      if (error instanceof TokenNeeded) return askForToken(error.message, predictAll);
      const again = () => {
        tell(null);
        if (!(error instanceof ModelReplaced)) return predictAll();
        forgetAnswers();
        return connect();
      };
      tell(error.message, true, [button(say('again'), again)]);
    }
  }
  if (running === mine) running = null;
  show();
}

async function predictOne(photo, { signal }) {
  try {
    photo.prediction = await backEnd.predict(photo.file, { model, signal });
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    photo.error = error.message;
  }
}

let timer = null;
function showSoon() {
  timer ??= setTimeout(show, REFRESH_MS);
}

/** Draw what has changed. */
function show() {
  clearTimeout(timer);
  timer = null;
  document.body.classList.toggle('has-photos', photos.length > 0);
  const one = opened ?? (photos.length === 1 ? { photo: photos[0], among: photos } : null);
  $('detail').hidden = one === null;
  $('list').hidden = one !== null || photos.length === 0;
  if (one) showOne(one);
  else if (photos.length && model) list.show(photos, model);
  showStatus();
}

let drawn = null; // what the detail shows: it is drawn again only if that has changed
function showOne({ photo, among }) {
  const state = JSON.stringify([currentLanguage(), photo.error ?? null, Boolean(photo.prediction), photos.length]);
  if (drawn?.photo === photo && drawn.state === state) return;
  drawn = { photo, state };
  const step = (by) => {
    opened = { photo: among[among.indexOf(photo) + by], among };
    show();
    $('detail').focus({ preventScroll: true });
  };
  const links = { back: closePhoto, step, index: among.indexOf(photo), count: among.length };
  const explain = async () => photo.prediction.heatMap ?? (await explained(photo));
  const similar = model?.hasSimilar ? () => similarTo(photo) : null;
  showDetail($('detail'), photo, { model, explain, similar, among: photos.length > 1 ? links : null });
}

async function explained(photo) {
  const { heatMap } = await backEnd.predict(photo.file, { model, heatMap: true });
  return heatMap;
}

/** Return the training photos that are similar to a photo; they are asked for once. */
function similarTo(photo) {
  photo.similar ??= backEnd.predict(photo.file, { model, similar: NUM_SIMILAR }).then(({ similar }) => similar);
  photo.similar.catch(() => (photo.similar = null));
  return photo.similar;
}

function openPhoto(photo, among) {
  opened = { photo, among };
  show();
  $('detail').focus({ preventScroll: true });
}

function closePhoto() {
  opened = null;
  drawn = null;
  show();
  $('list').focus({ preventScroll: true });
}

function showStatus() {
  if (!model || !photos.length) return;
  const all = photos.length;
  const done = photos.filter(({ prediction, error }) => prediction || error).length;
  const failed = photos.filter(({ error }) => error).length;
  const text = done < all ? say('busy', { done, all }) : say('done', { all, failed });
  const stop = button(say('cancel'), cancel);
  const clear = button(say('clear'), clearAll);
  $('status').replaceChildren(make('span', {}, text), ' ', done < all && running ? stop : clear);
}

/** Forget the photos that have no answer yet. */
function cancel() {
  running?.abort();
  running = null;
  photos = photos.filter(({ prediction, error }) => prediction || error);
  if (opened && !photos.includes(opened.photo)) opened = null;
  show();
}

function clearAll() {
  running?.abort();
  running = null;
  photos = [];
  opened = drawn = null;
  tell(null);
  $('status').replaceChildren();
  show();
  $('choose').focus();
}

function saveCsv() {
  const blob = new Blob(['\ufeff', csvOf(photos, model)], { type: 'text/csv' }); // the mark lets Excel read UTF-8
  const link = make('a', { href: URL.createObjectURL(blob), download: 'predictions.csv' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function tell(text, isError = false, buttons = []) {
  $('notice').hidden = text === null;
  $('notice').classList.toggle('is-error', isError);
  $('notice').setAttribute('role', isError ? 'alert' : 'note');
  $('notice').replaceChildren(...(text === null ? [] : [text, ' ', ...buttons]));
}

function askForToken(wrong, then) {
  const dialog = $('token-dialog');
  $('token-wrong').hidden = !wrong;
  $('token').value = '';
  dialog.onclose = () => {
    const token = $('token').value.trim();
    $('token').value = '';
    if (!token) return askForToken('', then);
    backEnd.useToken(token);
    then();
  };
  if (!dialog.open) dialog.showModal();
}

start();
