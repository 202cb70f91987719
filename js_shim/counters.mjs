/**
 * Numbers in shared memory that several threads count with.
 *
 * Owns the words of each, from those of `waiting.mjs` on. Knows nothing of Python, nor of pages.
 *
 * Counter: nobody waits for it.
 *   4, 5 value  a signed integer of 32 bits (word 4 alone) or of 64
 * Progress: state is the number of changes, modulo 2^32; each changes the values first.
 *   4, 5 done   a signed integer of 64 bits
 *   6, 7 total  the same; -1 where it is not known
 */

import { DONE, NOT_YET, OWN, Waiting } from "./waiting.mjs";

const TOTAL = 1;

/**
 * @param {bigint} value
 * @returns {number | bigint} a number, where one can hold it
 */
const plain = (value) =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;

/** An integer of 32 bits; it wraps around at its ends. */
export class Counter32 extends Waiting {
  contended = false;

  /** @param {number} value to add */
  add(value) {
    Atomics.add(this.words, this.at + OWN, value);
    return true;
  }

  /**
   * @param {number} value to add
   * @returns {number} what it was before
   */
  fetchAdd(value) {
    return Atomics.add(this.words, this.at + OWN, value);
  }

  /** @param {number} value */
  put(value) {
    Atomics.store(this.words, this.at + OWN, value);
    return true;
  }

  get() {
    return this.load(OWN);
  }

  /**
   * @param {number} expected
   * @param {number} value
   * @returns {number} what it was before; it was replaced if that was expected
   */
  compareExchange(expected, value) {
    return Atomics.compareExchange(this.words, this.at + OWN, expected, value);
  }
}

/** What has integers of 64 bits. */
class Wide extends Waiting {
  /**
   * @param {import("./arena.mjs").Arena} arena
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   */
  constructor(arena, offset, bell) {
    super(arena, offset, bell);
    this.contended = false;
    this.wide = new BigInt64Array(this.words.buffer, offset + 4 * OWN, 2);
  }
}

/** An integer of 64 bits; it wraps around at its ends. */
export class Counter64 extends Wide {
  /** @param {number | bigint} value to add */
  add(value) {
    Atomics.add(this.wide, 0, BigInt(value));
    return true;
  }

  /**
   * @param {number | bigint} value to add
   * @returns {number | bigint} what it was before
   */
  fetchAdd(value) {
    return plain(Atomics.add(this.wide, 0, BigInt(value)));
  }

  /** @param {number | bigint} value */
  put(value) {
    Atomics.store(this.wide, 0, BigInt(value));
    return true;
  }

  get() {
    return plain(Atomics.load(this.wide, 0));
  }

  /**
   * @param {number | bigint} expected
   * @param {number | bigint} value
   * @returns {number | bigint} what it was before; it was replaced if that was expected
   */
  compareExchange(expected, value) {
    return plain(Atomics.compareExchange(this.wide, 0, BigInt(expected), BigInt(value)));
  }
}

/** How much is done, of how much. */
export class Progress extends Wide {
  /** The state that a wait is to see changed. */
  known = 0;

  /** @param {number} state */
  take(state) {
    return state === this.known ? NOT_YET : DONE;
  }

  /** @param {number} state */
  expect(state) {
    this.known = state;
  }

  #changed() {
    Atomics.add(this.words, this.at, 1);
    this.wake(Number.POSITIVE_INFINITY);
    return true;
  }

  /** @param {number | bigint} value to add to what is done */
  add(value) {
    Atomics.add(this.wide, 0, BigInt(value));
    return this.#changed();
  }

  /** @param {number | bigint} value */
  put(value) {
    Atomics.store(this.wide, 0, BigInt(value));
    return this.#changed();
  }

  /** @param {number | bigint} total -1 where it is not known */
  reset(total) {
    Atomics.store(this.wide, 0, 0n);
    Atomics.store(this.wide, TOTAL, BigInt(total));
    return this.#changed();
  }

  get() {
    return plain(Atomics.load(this.wide, 0));
  }

  total() {
    return plain(Atomics.load(this.wide, TOTAL));
  }

  /** @returns {(number | bigint)[]} number of changes, done and total */
  state() {
    // Read first: what changes meanwhile is seen as a change once more.
    const changes = this.load(0);
    return [changes, this.get(), this.total()];
  }
}
