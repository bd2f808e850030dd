/** Makes elements of the page. Texts are set as text, never as HTML. */

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} properties Of the element; `class` and names with a hyphen become attributes.
 * @param {...(Node | string | null)} children What it contains; null is left out.
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class' || name === 'scope' || name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Make a button. */
export const button = (text, onclick, properties = {}) =>
  make('button', { type: 'button', onclick, ...properties }, text);

/** Make an element with a name, such as that of a file, which may be written from right to left. */
export function named(name) {
  const parts = name.match(/[^/]*\/|[^/]+$/g) ?? [name]; // a path breaks after a slash
  return make('bdi', {}, ...parts.flatMap((part, index) => (index ? [make('wbr'), part] : [part])));
}
