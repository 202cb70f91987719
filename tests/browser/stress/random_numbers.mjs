/** Random numbers that follow from a seed, the same in every thread of the stress tests. */

/**
 * @param {number} seed
 * @returns {(below: number) => number} draws an integer from 0 up to that number
 */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return (/** @type {number} */ below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
