/**
 * The self-test in a model file: four inputs that are made from a seed, and the outputs that belong to them. It shows
 * that this browser computes what the model computed when it was written, without any photo. The rule for the inputs
 * is in Headstart's docs/reference/other-languages.md.
 */

const NUM_INPUTS = 4;
const TOLERANCE = 1e-3;
const MODULUS = 2 ** 31; // products of the rule stay below 2 ** 53, which numbers hold exactly

/**
 * Return one input of a self-test.
 *
 * @param {number} seed Seed of the self-test.
 * @param {number} number 0 to 3.
 * @param {number} sizePx Side of the input.
 * @returns {Uint8Array} sizePx × sizePx × 3, RGB, row by row.
 */
export function inputOf(seed, number, sizePx) {
  const pixels = new Uint8Array(sizePx * sizePx * 3);
  const cellPx = 8 * 2 ** number;
  let at = 0;
  for (let y = 0; y < sizePx; y++) {
    for (let x = 0; x < sizePx; x++) {
      const row = (seed * NUM_INPUTS + number) * 512 + Math.floor(y / cellPx);
      const key = row * 512 + Math.floor(x / cellPx);
      for (let channel = 0; channel < 3; channel++) {
        const first = ((key * 4 + channel) * 16807 + 12345) % MODULUS;
        const second = ((first ^ (first >>> 15)) * 69069 + 1) % MODULUS;
        pixels[at++] = Math.floor(second / 2 ** 23);
      }
    }
  }
  return pixels;
}

/**
 * Run the self-test of a model.
 *
 * @param {import('./headstart-web.js').Model} model A model whose description contains a self-test.
 * @returns {Promise<string>} Which output differs most, by how much, in words; empty if all are within the tolerance.
 */
export async function failureOf(model) {
  const { self_test: selfTest, preprocessing, scale } = model.info;
  let failure = '';
  let largest = TOLERANCE;
  for (let number = 0; number < NUM_INPUTS; number++) {
    const found = await model.run(inputOf(selfTest.seed, number, preprocessing.size_px));
    for (const [name, rows] of Object.entries(selfTest.outputs)) {
      const difference = largestDifference(name, rows, rows[number], found[name]?.data, scale);
      if (Number.isNaN(difference)) return `${name} is not a number`;
      if (difference > largest) [failure, largest] = [`${name} by ${difference.toPrecision(2)}`, difference];
    }
  }
  return failure;
}

/** Return the largest difference of an output: NaN if a number is missing, Infinity if it has another length. */
function largestDifference(name, rows, wanted, found, scale) {
  if (found?.length !== wanted.length) return Infinity;
  const unit = rows.flat().reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  const units = (index) => (name === 'numbers' ? scale[1][index] : unit);
  const differences = wanted.map((value, index) => Math.abs(found[index] - value) / units(index));
  return Math.max(0, ...differences); // NaN if one of them is
}
