/** Shows many photos as a table that can be sorted and filtered. */

import { answerOf, doubtOf, doubtText, predictsClasses, sureness, SURE } from './answers.js';
import { button, make, named } from './elements.js';
import { compare, percent, say } from './texts.js';

const ROWS = 100; // that are shown at first, and added at a time
const THUMBNAIL_PX = 112;

/** A table of photos. Its state, what it is sorted by for example, stays when photos are added. */
export class List {
  #section;
  #open;
  #save;
  #sort = { by: 'given', ascending: true };
  #filter = 'all';
  #search = '';
  #most = ROWS;
  #thumbnails = new WeakMap();

  /**
   * @param {HTMLElement} section Where the table is.
   * @param {{ open: (photo: object, shown: object[]) => void, save: () => void }} options `open` is called with the
   *   photo that the user selects and all those that are shown, `save` when they are to be saved.
   */
  constructor(section, { open, save }) {
    this.#section = section;
    this.#open = open;
    this.#save = save;
  }

  /** Show photos, `{ name, file, prediction, error }` in the order in which they were given. */
  show(photos, model) {
    const shown = this.#chosen(photos, model);
    const { hasSearch, place } = this.#focus();
    const title = make('h2', { id: 'list-title' }, say('photos'));
    const body = make('tbody', {}, ...shown.slice(0, this.#most).map((photo) => this.#row(photo, shown, model)));
    const head = make('thead', {}, make('tr', {}, make('td', {}), ...this.#headers(photos, model)));
    const caption = make('caption', {}, say('caption', { shown: shown.length, all: photos.length }));
    const left = shown.length - this.#most;
    const more = button(say('more', { count: Math.min(left, ROWS) }), () => {
      this.#most += ROWS;
      this.show(photos, model);
    });
    this.#section.replaceChildren(
      title,
      this.#filters(photos, model),
      make('div', { class: 'scroll' }, make('table', {}, caption, head, body)),
      ...(left > 0 ? [make('p', {}, more)] : []),
    );
    if (hasSearch) this.#section.querySelector('#search').focus();
    if (place !== null) this.#section.querySelectorAll('th button')[place]?.focus();
  }

  /** Return which control the user is at, since the table is made anew. */
  #focus() {
    const active = document.activeElement;
    const place = Array.from(this.#section.querySelectorAll('th button')).indexOf(active);
    return { hasSearch: active?.id === 'search', place: place < 0 ? null : place };
  }

  #filters(photos, model) {
    const kinds = { all: 'filterAll', doubt: 'filterDoubt', unknown: 'filterUnknown', error: 'filterError' };
    const options = Object.entries(kinds).map(([value, text]) => make('option', { value }, say(text)));
    const classes = model.classNames.map((name) => make('option', { value: `class:${name}`, dir: 'auto' }, name));
    const kind = make('select', { id: 'kind' }, ...options, ...classes);
    kind.value = this.#filter;
    kind.onchange = () => {
      this.#filter = kind.value;
      this.#again(photos, model);
      this.#section.querySelector('#kind').focus();
    };
    const search = make('input', { type: 'search', id: 'search', value: this.#search });
    search.oninput = () => {
      const { selectionStart } = search;
      this.#search = search.value;
      this.#again(photos, model);
      this.#section.querySelector('#search').setSelectionRange(selectionStart, selectionStart);
    };
    return make(
      'div',
      { class: 'filters' },
      make('span', {}, make('label', { htmlFor: kind.id }, say('filter')), ' ', kind),
      make('span', {}, make('label', { htmlFor: search.id }, say('search')), ' ', search),
      button(say('csv'), this.#save),
    );
  }

  #again(photos, model) {
    this.#most = ROWS;
    this.show(photos, model);
  }

  #headers(photos, model) {
    const names = ['photo', 'answer', ...(predictsClasses(model) ? ['probability', 'doubt'] : [])];
    return names.map((name) => {
      const isSorted = this.#sort.by === name;
      const order = isSorted ? (this.#sort.ascending ? 'ascending' : 'descending') : null;
      const sort = () => {
        // What is most in doubt is what people look for, so it comes first.
        this.#sort = { by: name, ascending: isSorted ? !this.#sort.ascending : name !== 'doubt' };
        this.#again(photos, model);
      };
      const mark = make('span', { class: 'order', 'aria-hidden': 'true' }, { ascending: ' ▲', descending: ' ▼' }[order] ?? ' ↕');
      const header = make('th', { scope: 'col' }, button(say(name), sort));
      header.firstChild.append(mark);
      if (order) header.setAttribute('aria-sort', order);
      return header;
    });
  }

  #chosen(photos, model) {
    const wanted = this.#search.toLowerCase();
    const shown = photos.filter((photo) => photo.name.toLowerCase().includes(wanted) && this.#passes(photo, model));
    const { by, ascending } = this.#sort;
    if (by === 'given') return shown;
    const key = keyOf(by, model);
    const sign = ascending ? 1 : -1;
    // Photos without an answer come last in both orders.
    return shown.sort((a, b) => {
      const [one, other] = [key(a), key(b)];
      if (one === null || other === null) return Number(one === null) - Number(other === null);
      return sign * (typeof one === 'string' ? compare(one, other) : one - other);
    });
  }

  #passes({ prediction, error }, model) {
    if (this.#filter === 'all') return true;
    if (this.#filter === 'error') return Boolean(error);
    if (!prediction) return false;
    if (this.#filter === 'unknown') return prediction.unknown === true;
    if (this.#filter === 'doubt') return (doubtOf(prediction, model) ?? 0) > 1 - SURE;
    const name = this.#filter.slice('class:'.length);
    return prediction.label === name || prediction.labels.includes(name);
  }

  #row(photo, shown, model) {
    const { name, prediction, error } = photo;
    const reply = prediction ? answerOf(prediction, model) : (error ?? say('waiting'));
    const sure = prediction ? sureness(prediction, model) : null;
    const doubt = prediction ? doubtText(prediction, model) : '';
    const kinds = { 'is-error': error, 'is-doubtful': prediction && (doubtOf(prediction, model) ?? 0) > 1 - SURE };
    const ofProbability = predictsClasses(model)
      ? [make('td', { class: 'number' }, sure === null ? '' : percent(sure)), make('td', { class: 'doubt' }, doubt)]
      : [];
    return make(
      'tr',
      { class: Object.keys(kinds).filter((kind) => kinds[kind]).join(' ') },
      make('td', { class: 'thumbnail' }, this.#thumbnail(photo)),
      make('td', { class: 'name' }, button(named(name), () => this.#open(photo, shown), { class: 'plain' })),
      make('td', { class: prediction || error ? 'reply' : 'reply quiet' }, reply),
      ...ofProbability,
    );
  }

  /** Return a small picture of a photo, which is drawn when it comes into view, and only once. */
  #thumbnail(photo) {
    let canvas = this.#thumbnails.get(photo);
    if (!canvas) {
      canvas = make('canvas', { width: THUMBNAIL_PX, height: THUMBNAIL_PX, 'aria-hidden': 'true' });
      this.#thumbnails.set(photo, canvas);
      const observer = new IntersectionObserver(([entry]) => {
        if (!entry.isIntersecting) return;
        observer.disconnect();
        draw(canvas, photo.file);
      });
      observer.observe(canvas);
    }
    return canvas;
  }
}

function keyOf(by, model) {
  if (by === 'photo') return ({ name }) => name;
  return ({ prediction }) => {
    if (!prediction) return null;
    if (by === 'doubt') return doubtOf(prediction, model);
    if (by === 'probability') return sureness(prediction, model);
    const numbers = Object.values(prediction.numbers);
    return numbers.length ? numbers[0] : answerOf(prediction, model);
  };
}

async function draw(canvas, file) {
  try {
    const bitmap = await createImageBitmap(file, { resizeWidth: THUMBNAIL_PX * 2, resizeQuality: 'medium' });
    const scale = Math.max(THUMBNAIL_PX / bitmap.width, THUMBNAIL_PX / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    const place = [(THUMBNAIL_PX - width) / 2, (THUMBNAIL_PX - height) / 2];
    canvas.getContext('2d').drawImage(bitmap, ...place, width, height);
    bitmap.close();
  } catch {
    // A format that this browser cannot display; the cell stays empty.
  }
}
