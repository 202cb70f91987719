/**
 * A counter that goes to and fro between two threads: a spin, then Atomics.wait.
 *
 * The fastest way that is known for one thread to get an answer from another, and so the floor
 * under every blocking call.
 */

/**
 * Loads before a wait. A long spin pays where both threads have a core of their own, and harms
 * where they have not, so it is tried now and then, and kept up for as long as it succeeds.
 */
const LONG_SPIN = 8_000;
const SHORT_SPIN = 200;
const TRY_EVERY = 32;

/** Indices of the two counters, each in a cache line of its own. */
const ASKED = 0;
const ANSWERED = 32;

/** Bytes of the memory that both threads share. */
export const PINGPONG_BYTES = 256;

/**
 * @param {Int32Array} words
 * @param {number} index
 * @param {number} count
 */
function say(words, index, count) {
  Atomics.store(words, index, count);
  Atomics.notify(words, index);
}

/**
 * @param {Int32Array} words
 * @param {number} index
 * @returns {(count: number) => void} blocks until the other thread has said this
 */
function listener(words, index) {
  let spins = SHORT_SPIN;
  let times = 0;
  return (count) => {
    if (++times % TRY_EVERY === 0) spins = LONG_SPIN;
    for (let i = 0; i < spins; i++) {
      if (Atomics.load(words, index) === count) return;
    }
    spins = SHORT_SPIN;
    while (Atomics.load(words, index) !== count) Atomics.wait(words, index, count - 1);
  };
}

/**
 * @param {SharedArrayBuffer} memory
 * @returns {() => void} asks, and blocks until the answer is there
 */
export function asker(memory) {
  const words = new Int32Array(memory);
  const hear = listener(words, ANSWERED);
  let count = 0;
  return () => {
    say(words, ASKED, ++count);
    hear(count);
  };
}

/**
 * @param {SharedArrayBuffer} memory
 */
export function answerer(memory) {
  const words = new Int32Array(memory);
  const hear = listener(words, ASKED);
  let count = 0;
  const finish = () => say(words, ANSWERED, count);
  return {
    /** Answers the last question, if there was one, and blocks until the next. */
    swap() {
      if (count > 0) finish();
      hear(++count);
    },
    /** Answers the last question. */
    finish,
  };
}
