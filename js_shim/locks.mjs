/**
 * Locks, semaphores and flags in shared memory.
 *
 * Owns the words of each, from those of `waiting.mjs` on, and their transitions. Knows nothing of
 * Python, nor of how a thread waits.
 *
 * Lock: state is 0 while it is free, else the token of its owner.
 *   4 depth     how often the owner has taken it; only the owner writes it
 *   5 takings   how often it was taken, modulo 2^32; only an owner writes it
 *   6 losses    how many owners have ended without releasing it
 *   A taking is one compare-exchange of the state, so an owner that ends at any moment either had
 *   it or not; whoever finds an owner without a seat takes the lock over by the same.
 * Semaphore: state is how many there are.
 *   4 limit     that it must not exceed; -1 none
 * Flag: state is 1 while it is set.
 */

import { DONE, INHERITED, NOT_YET, OWN, Waiting } from "./waiting.mjs";

export const DEPTH = OWN;
const TAKINGS = OWN + 1;
const LOSSES = OWN + 2;
const LIMIT = OWN;
const MAX_DEPTH = 0x7fffffff;

/** Mutual exclusion. What must not be released by others its users check. */
export class Lock extends Waiting {
  /**
   * @param {number} state
   * @param {number} waited
   * @returns {number}
   */
  take(state, waited) {
    const { words, at, token } = this;
    if (state === 0) {
      // Who was faster may have released it again, before this thread waits: so it must not wait
      // for something else than the 0 that it has seen.
      this.seen = Atomics.compareExchange(words, at, 0, token);
      if (this.seen !== 0) return NOT_YET;
      this.#took();
      return DONE;
    }
    if (waited === 0 || state === token || this.isAlive(state)) return NOT_YET;
    this.seen = Atomics.compareExchange(words, at, state, token);
    if (this.seen !== state) return NOT_YET;
    Atomics.add(words, at + LOSSES, 1);
    this.#took();
    return INHERITED;
  }

  #took() {
    const { words, at } = this;
    words[at + DEPTH] = 1;
    words[at + TAKINGS] = /** @type {number} */ (words[at + TAKINGS]) + 1;
  }

  /** @returns {boolean} false: it is not locked */
  release() {
    this.taken = false;
    if (Atomics.exchange(this.words, this.at, 0) === 0) return false;
    this.wake(1);
    return true;
  }

  /** @returns {boolean} whether this thread owns it */
  isMine() {
    return Atomics.load(this.words, this.at) === this.token;
  }

  /** @returns {number} number of the peer that owns it; -1 if none does */
  owner() {
    return this.load(0) - 1;
  }

  statistics() {
    return {
      ...this.counts(),
      takings: this.load(TAKINGS) >>> 0,
      losses: this.load(LOSSES),
      depth: this.load(0) === 0 ? 0 : this.load(DEPTH),
    };
  }
}

/** A lock that who owns it takes once more, without waiting for itself or letting others go first. */
export class RLock extends Lock {
  /** @param {number} waited */
  attempt(waited) {
    const { words, at } = this;
    const depth = this.isMine() ? /** @type {number} */ (words[at + DEPTH]) : MAX_DEPTH;
    if (depth === MAX_DEPTH) return super.attempt(waited);
    words[at + DEPTH] = depth + 1;
    this.taken = true;
    return DONE;
  }

  /** @returns {boolean} false: this thread does not own it */
  releaseOnce() {
    const { words, at } = this;
    if (!this.isMine()) return false;
    const depth = /** @type {number} */ (words[at + DEPTH]);
    if (depth === 1) return this.release();
    this.taken = false;
    words[at + DEPTH] = depth - 1;
    return true;
  }
}

/** A number that is taken from, and given back to. */
export class Semaphore extends Waiting {
  /**
   * @param {number} value at first
   * @param {number} limit that it must not exceed; -1 none
   */
  initialize(value, limit) {
    Atomics.store(this.words, this.at + LIMIT, limit);
    Atomics.store(this.words, this.at, value);
  }

  /** @param {number} state */
  take(state) {
    const { words, at } = this;
    for (let value = state; value > 0; ) {
      const found = Atomics.compareExchange(words, at, value, value - 1);
      if (found === value) return DONE;
      value = found;
      this.seen = found;
    }
    return NOT_YET;
  }

  /**
   * @param {number} count
   * @returns {boolean} false: that would exceed its limit
   */
  release(count) {
    const { words, at } = this;
    this.taken = false;
    const limit = this.load(LIMIT);
    const most = limit < 0 ? 0x7fffffff : limit;
    for (let value = this.load(0); ; ) {
      if (value > most - count) return false;
      const found = Atomics.compareExchange(words, at, value, value + count);
      if (found === value) break;
      value = found;
    }
    this.wake(count);
    return true;
  }

  statistics() {
    return { ...this.counts(), value: this.load(0), limit: this.load(LIMIT) };
  }
}

/** True or false. */
export class Flag extends Waiting {
  contended = false;

  /** @param {number} state */
  take(state) {
    return state === 1 ? DONE : NOT_YET;
  }

  /** @param {number} value 0 or 1 */
  put(value) {
    const before = Atomics.exchange(this.words, this.at, value);
    if (before !== value) this.wake(Number.POSITIVE_INFINITY);
    return true;
  }

  toggle() {
    Atomics.xor(this.words, this.at, 1);
    this.wake(Number.POSITIVE_INFINITY);
    return true;
  }

  /** @returns {boolean} */
  isSet() {
    return this.load(0) === 1;
  }

  statistics() {
    return { ...this.counts(), value: this.load(0) };
  }
}
