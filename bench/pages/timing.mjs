/** The loop that times calls of JavaScript, as timing.py times those of Python. */

export const seconds = () => performance.now() / 1000;

/**
 * @param {number} calls
 * @param {(i: number) => Promise<unknown>} call
 * @returns {Promise<number[]>} the clock before, between and after the calls, in seconds
 */
export async function awaited(calls, call) {
  const times = [seconds()];
  for (let i = 0; i < calls; i++) {
    await call(i);
    times.push(seconds());
  }
  return times;
}
