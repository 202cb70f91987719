/**
 * Locks that many may have to read, or one to write: in shared memory.
 *
 * Owns who gets in before whom.
 *
 *   0 state     goes on whenever somebody may get in
 *   1 to 3      as in `waiting.mjs`, for those who wait to read and to write together
 *   4 guard     of all that follows, see `slots.mjs`
 *   5 writer    token of who writes, 0 nobody
 *   6 claim     token of who is to write next: nobody begins to read meanwhile; 0 nobody
 *   7 batch     1 from the end of a writing until who has the claim finds readers: who is hungry for
 *               reading goes before the claim
 *   8 readings, 9 writings   how many there ever were, modulo 2^32
 *   10 losses   how many writers have ended without releasing it
 *   12 and on   who reads: a token, and how often
 *
 * So a writer waits for those who read, at the most, and readers for one writer. A reader who has
 * ended has changed nothing, and is forgotten.
 */

import { Guard } from "./slots.mjs";
import { DONE, HUNGRY, INHERITED, NOT_YET, OWN, Waiting } from "./waiting.mjs";

const GUARD = OWN;
const WRITER = OWN + 1;
const CLAIM = OWN + 2;
const BATCH = OWN + 3;
const READINGS = OWN + 4;
const WRITINGS = OWN + 5;
const LOSSES = OWN + 6;
const TABLE = 12;
const READ = 1;

/** What reading and writing have in common. */
export class Side extends Waiting {
  /** So many threads can read at the same time; further ones wait. */
  static readers = 128;

  /**
   * @param {import("./arena.mjs").Arena} arena of this thread
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   */
  constructor(arena, offset, bell) {
    super(arena, offset, bell);
    // Each section leaves its words in order at each of its stores.
    this.guard = new Guard(this, this.at + GUARD, () => {});
    this.table = new Int32Array(
      arena.bytes(offset + 4 * TABLE, 8 * Side.readers).buffer,
      offset + 4 * TABLE,
      2 * Side.readers,
    );
  }

  /**
   * @param {number} word
   * @param {number} value
   */
  store(word, value) {
    Atomics.store(this.words, this.at + word, value);
  }

  /** @param {number} word */
  count(word) {
    Atomics.add(this.words, this.at + word, 1);
  }

  /** Lets those who wait look again. */
  announce() {
    this.count(0);
    this.wake(Number.POSITIVE_INFINITY);
  }

  /** @returns {boolean} whether another is to write next */
  isClaimed() {
    const claim = this.load(CLAIM);
    if (claim === 0 || this.isAlive(claim)) return claim !== 0;
    this.store(CLAIM, 0);
    return false;
  }

  /** @returns {boolean} whether somebody writes who has not ended */
  isWritten() {
    const writer = this.load(WRITER);
    return writer !== 0 && this.isAlive(writer);
  }

  /**
   * One store, so that it is not forgotten if a writer has ended.
   * @param {number} token of who writes now, 0 nobody
   * @returns {number} DONE, or INHERITED if a writer has ended
   */
  succeed(token) {
    const got = this.load(WRITER) === 0 ? DONE : INHERITED;
    if (got === INHERITED) this.count(LOSSES);
    this.store(WRITER, token);
    return got;
  }

  /** @returns {number} how often it is read, by those who have not ended */
  readers() {
    let sum = 0;
    for (let i = 0; i < 2 * Side.readers; i += 2) {
      const token = Atomics.load(this.table, i);
      if (token === 0) continue;
      if (this.isAlive(token)) sum += Atomics.load(this.table, i + 1);
      else this.#forget(i);
    }
    return sum;
  }

  /** @param {number} i where a reader stands */
  #forget(i) {
    Atomics.store(this.table, i + 1, 0);
    Atomics.store(this.table, i, 0);
  }

  /** @returns {boolean} false: too many others read */
  enroll() {
    let i = this.own();
    if (i < 0) i = this.#place(0);
    if (i < 0) return false;
    // The token alone says nothing before there is a count.
    Atomics.store(this.table, i, this.token);
    Atomics.add(this.table, i + 1, 1);
    this.count(READINGS);
    return true;
  }

  /** @returns {number} how often this thread still reads; -1 if it did not */
  dismiss() {
    const i = this.own();
    if (i < 0) return -1;
    const left = Atomics.sub(this.table, i + 1, 1) - 1;
    if (left === 0) this.#forget(i);
    return left;
  }

  /** @returns {boolean} whether this thread reads or writes */
  isMine() {
    return this.own() >= 0 || this.load(WRITER) === this.token;
  }

  own() {
    return this.#place(this.token);
  }

  /** @param {number} token */
  #place(token) {
    for (let i = 0; i < 2 * Side.readers; i += 2)
      if (Atomics.load(this.table, i) === token) return i;
    return -1;
  }
}

/** Has it to read. */
class Reading extends Side {
  take() {
    return this.guard.run(() => {
      if (this.isWritten()) return NOT_YET;
      const isFirst = this.load(BATCH) === 1 && this.load(HUNGRY) === this.token;
      if (this.isClaimed() && !isFirst) return NOT_YET;
      return this.enroll() ? this.succeed(0) : NOT_YET;
    });
  }

  /** @returns {boolean} whether this thread reads, and does once more now */
  again() {
    this.taken = this.guard.run(() => this.own() >= 0 && this.enroll());
    return this.taken;
  }

  /** @returns {boolean} false: this thread does not read */
  release() {
    this.taken = false;
    const left = this.guard.run(() => this.dismiss());
    if (left === 0) this.announce();
    return left >= 0;
  }
}

/** Has it to write. */
class Writing extends Side {
  wanting = 0;

  enter() {
    super.enter();
    this.wanting++;
  }

  leave() {
    super.leave();
    this.wanting--;
  }

  take() {
    return this.guard.run(() => {
      const mayClaim = !this.isClaimed() || this.load(CLAIM) === this.token;
      if (mayClaim && this.wanting > 0) this.store(CLAIM, this.token);
      if (!mayClaim || this.isWritten()) return NOT_YET;
      if (this.readers() > 0) {
        this.store(BATCH, 0);
        return NOT_YET;
      }
      this.store(CLAIM, 0);
      this.count(WRITINGS);
      return this.succeed(this.token);
    });
  }

  /** Nobody here waits to write any more. */
  withdraw() {
    const { words, at, token } = this;
    if (Atomics.compareExchange(words, at + CLAIM, token, 0) === token) this.announce();
  }

  /** @returns {boolean} false: this thread does not write */
  release() {
    this.taken = false;
    const { words, at, token } = this;
    if (this.load(WRITER) !== token) return false;
    this.store(BATCH, 1);
    Atomics.store(words, at + WRITER, 0);
    this.announce();
    return true;
  }
}

/** Both. */
export class RWLock {
  /**
   * @param {import("./arena.mjs").Arena} arena of this thread
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   */
  constructor(arena, offset, bell) {
    this.reading = new Reading(arena, offset, bell);
    this.writing = new Writing(arena, offset, bell);
  }

  /** @param {number} side */
  part(side) {
    return side === READ ? this.reading : this.writing;
  }

  statistics() {
    const { writing } = this;
    return {
      ...writing.counts(),
      readers: writing.guard.run(() => writing.readers()),
      writer: writing.isWritten() ? writing.load(WRITER) - 1 : -1,
      readings: writing.load(READINGS) >>> 0,
      writings: writing.load(WRITINGS) >>> 0,
      losses: writing.load(LOSSES),
    };
  }
}
