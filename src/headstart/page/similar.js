/** Shows the training photos that are most similar to a photo, below its answer. */

import { make, named } from './elements.js';
import { fraction, say } from './texts.js';

/**
 * Return a place for similar training photos, which is filled once they have arrived.
 *
 * @param {() => Promise<object[]>} find Returns `{ name, label, similarity, thumbnail }` of each, the best first;
 *   `thumbnail` is a Blob or null.
 * @returns {HTMLElement}
 */
export function similarPhotos(find) {
  const body = make('div', {}, make('p', { class: 'quiet' }, say('waiting')));
  const fill = async () => {
    try {
      const found = await find();
      body.replaceChildren(make('ul', { class: 'similar' }, ...found.map(item)));
    } catch (error) {
      body.replaceChildren(make('p', { class: 'quiet' }, error.message));
    }
  };
  fill();
  return make('div', {}, make('h3', {}, say('similar')), body);
}

function item({ name, label, similarity, thumbnail }) {
  return make(
    'li',
    {},
    picture(name, thumbnail),
    make('span', {}, make('strong', {}, named(label)), ' ', make('span', { title: say('similarity') }, fraction(similarity))),
    make('span', { class: 'path quiet' }, named(name)),
  );
}

function picture(name, thumbnail) {
  if (!thumbnail) return make('span', { class: 'no-picture' }, say('noThumbnail'));
  const image = make('img', { alt: name });
  image.onload = image.onerror = () => URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(thumbnail);
  return image;
}
