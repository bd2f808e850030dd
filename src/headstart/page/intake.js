/** Where photos come from: dropped, pasted, chosen, or just taken. */

import { compare } from './texts.js';

const IS_PHOTO = /\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|ppm|pgm|pbm|pnm|hei[cf])$/i;

/**
 * Call a function with photos whenever the user gives some.
 *
 * @param {{ area: HTMLElement, files: HTMLInputElement, folder: HTMLInputElement, camera: HTMLInputElement }} elements
 *   `area` is marked while something is dragged over the page.
 * @param {(given: { photos: { name: string, file: File }[], numLeft: number }) => void} take Called with photos by
 *   name, which is a path below the folder they come from, and the number of files that are none.
 */
export function listen({ area, files, folder, camera }, take) {
  for (const input of [files, folder, camera]) {
    input.addEventListener('change', () => {
      const given = Array.from(input.files, (file) => ({ name: file.webkitRelativePath || file.name, file }));
      input.value = ''; // so that the same file can be chosen again
      if (given.length) take(input === folder ? sorted(given) : { photos: given, numLeft: 0 });
    });
  }
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    area.classList.add('is-over');
  });
  document.addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) area.classList.remove('is-over');
  });
  document.addEventListener('drop', async (event) => {
    event.preventDefault();
    area.classList.remove('is-over');
    // Entries have to be taken before the first `await`: afterwards, the browser has emptied the list.
    const entries = Array.from(event.dataTransfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const loose = Array.from(event.dataTransfer.files, (file) => ({ name: file.name, file }));
    if (entries.some((entry) => entry.isDirectory)) take(sorted((await Promise.all(entries.map(filesOf))).flat()));
    else if (loose.length) take({ photos: loose, numLeft: 0 });
  });
  document.addEventListener('paste', (event) => {
    const pasted = Array.from(event.clipboardData.files, (file) => ({ name: file.name, file }));
    if (pasted.length) take({ photos: pasted, numLeft: 0 });
  });
}

/** Separate the photos of a folder from other files; hidden files are not counted. */
function sorted(given) {
  const seen = given.filter(({ name }) => !name.split('/').some((part) => part.startsWith('.') || part === '__MACOSX'));
  const photos = seen.filter(({ name }) => IS_PHOTO.test(name));
  photos.sort((a, b) => compare(a.name, b.name));
  return { photos, numLeft: seen.length - photos.length };
}

/** Return the files of a dropped entry with their paths; of a folder, all of them. */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ name: entry.fullPath.replace(/^\//, ''), file }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}
