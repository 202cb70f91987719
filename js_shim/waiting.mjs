/**
 * What all primitives in shared memory have in common: waits for a word, and who wakes them.
 *
 * Owns how a thread waits, blocking or not, and that no wait is forgotten, starved, or waits for a
 * thread that has ended. Knows nothing of what the words mean: `locks.mjs` and its neighbours do.
 * An object here holds no state of the primitive, but where it is.
 *
 * Each primitive begins with these words:
 *   0 state     what is waited for; only its changes are announced
 *   1 waiters   how many waits are pending
 *   2 hungry    who has waited in vain for so long that others let it go first: a token, 0 nobody
 *   3 waits     how many waits there ever were, modulo 2^32
 *
 * A token is the number of a thread's peer plus 1, so that it is never 0.
 *
 * Who wants something tries it, and if that fails: adds itself to the waiters, tries again, and
 * waits as long as the state is what it was before that last try. Who changes the state looks for
 * waiters afterwards. So one of the two sees the other. As waiters may die, their number can be too
 * high, which costs a needless call to wake nobody, but never too low.
 *
 * A lock that is released is free for whoever comes first, which is mostly the one that released
 * it: a wake-up takes longer than a short loop of Python. Who has waited for more than a
 * millisecond declares itself hungry; from then on others leave what is free to it, for a millisecond
 * at the most, as it may be long in waking up, and not at all if it has ended.
 */

import { canWaitAsync } from "./ring.mjs";

export const WAITERS = 1;
export const HUNGRY = 2;
const WAITS = 3;
/** The first word that belongs to the primitive itself. */
export const OWN = 4;

/** What came of a try. */
export const NOT_YET = 0;
export const DONE = 1;
/** Done, and who had it before has ended without giving it back. */
export const INHERITED = 2;

const HUNGRY_AFTER_MS = 1;
const POLITE_MS = 1;
/**
 * Loads before a wait, a few ns each. A spin that is worth it saves a wake-up, and takes time from
 * others where there are more threads than cores: so those that fail get shorter, by half each.
 */
const LONG_SPIN = 8_000;
const SHORT_SPIN = 100;
const TRY_EVERY = 32;
/** Where there is no waitAsync, somebody looks so often. */
const NAP_MS = 4;
/** How late the end of a wait may be before it is woken from here. */
const LATE_MS = 4;

/** A few words in the arena for which threads wait. */
export class Waiting {
  /**
   * @param {import("./arena.mjs").Arena} arena of this thread
   * @param {number} offset of the primitive
   * @param {import("./ring.mjs").Doorbell | undefined} bell of the hub; none where no hub waits
   */
  constructor(arena, offset, bell) {
    arena.sit();
    this.arena = arena;
    this.bell = bell;
    /** A view that stays valid when the region grows. */
    this.words = new Int32Array(arena.bytes(offset, 4 * OWN).buffer);
    this.at = offset / 4;
    this.token = arena.self + 1;
    /** The state before the last try. */
    this.seen = 0;
    /** Whether something was taken here, and nobody has asked for anything since. */
    this.taken = false;
    /** Whether one who gets what it wants leaves less for others. */
    this.contended = true;
    this.spins = SHORT_SPIN;
    this.tries = 0;
    /** Whom this thread lets go first, and until when. */
    this.hungry = 0;
    this.politeUntil = 0;
  }

  /**
   * @param {number} word of this primitive
   * @returns {number}
   */
  load(word) {
    return Atomics.load(this.words, this.at + word);
  }

  /**
   * Takes what is wanted, if it can be had. If not, `seen` is then a state in which it cannot.
   * @abstract
   * @param {number} _state
   * @param {number} _waited for how many milliseconds it has been wanted
   * @returns {number} NOT_YET, DONE or INHERITED
   */
  take(_state, _waited) {
    throw new Error("abstract");
  }

  /**
   * Tries once.
   * @param {number} waited for how many milliseconds this has been tried in vain
   * @returns {number} NOT_YET, DONE or INHERITED
   */
  attempt(waited) {
    const { words, at, token } = this;
    this.taken = false;
    this.seen = Atomics.load(words, at);
    const hungry = this.contended ? Atomics.load(words, at + HUNGRY) : token;
    if (hungry !== 0 && hungry !== token) {
      if (this.#lets(hungry)) return NOT_YET;
    } else this.hungry = 0;
    const got = this.take(this.seen, waited);
    if (got !== NOT_YET) {
      this.taken = true;
      if (this.contended && hungry === token) Atomics.compareExchange(words, at + HUNGRY, token, 0);
    } else if (hungry === 0 && waited > HUNGRY_AFTER_MS) {
      Atomics.compareExchange(words, at + HUNGRY, 0, token);
    }
    return got;
  }

  /**
   * @param {number} hungry token of another thread
   * @returns {boolean} whether that one goes first
   */
  #lets(hungry) {
    const now = performance.now();
    if (!this.isAlive(hungry)) this.politeUntil = now;
    else if (hungry !== this.hungry) {
      this.hungry = hungry;
      this.politeUntil = now + POLITE_MS;
    }
    if (now < this.politeUntil) return true;
    this.hungry = 0;
    Atomics.compareExchange(this.words, this.at + HUNGRY, hungry, 0);
    return false;
  }

  /** Counts this thread among the waiters, until `leave`. */
  enter() {
    Atomics.add(this.words, this.at + WAITERS, 1);
    Atomics.add(this.words, this.at + WAITS, 1);
  }

  leave() {
    Atomics.sub(this.words, this.at + WAITERS, 1);
    Atomics.compareExchange(this.words, this.at + HUNGRY, this.token, 0);
  }

  /**
   * Tries for a while, and blocks meanwhile.
   * @param {number} milliseconds
   * @param {number} waited for how many milliseconds this has been tried in vain
   * @returns {number} NOT_YET, DONE or INHERITED
   */
  acquire(milliseconds, waited) {
    let got = this.attempt(waited);
    if (got !== NOT_YET || milliseconds <= 0) return got;
    // Who spins is no waiter yet, so that nobody takes the time to wake it.
    if (this.#spun()) {
      got = this.attempt(waited);
      if (got !== NOT_YET) return got;
    }
    const { words, at } = this;
    const began = performance.now();
    this.enter();
    try {
      while (got === NOT_YET) {
        const passed = performance.now() - began;
        got = this.attempt(waited + passed);
        const left = milliseconds - passed;
        if (got !== NOT_YET || left <= 0) break;
        Atomics.wait(words, at, this.seen, this.hungry === 0 ? left : Math.min(left, POLITE_MS));
      }
    } finally {
      this.leave();
    }
    return got;
  }

  /** @returns {boolean} whether the state has changed during a spin */
  #spun() {
    if (++this.tries % TRY_EVERY === 0) this.spins = LONG_SPIN;
    const { words, at, seen, spins } = this;
    for (let i = 0; i < spins; i++) {
      if (Atomics.load(words, at) !== seen) {
        this.spins = Math.min(2 * spins, LONG_SPIN);
        return true;
      }
    }
    this.spins = Math.max(spins >> 1, SHORT_SPIN);
    return false;
  }

  /**
   * Waits without blocking, between `enter` and `leave`.
   * @param {number} milliseconds
   * @returns {Promise<void>} resolved when the state is not what it was before the last try, or the
   *   time is over
   */
  async changed(milliseconds) {
    const limit = this.hungry === 0 ? milliseconds : Math.min(milliseconds, POLITE_MS);
    if (!canWaitAsync) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(limit, NAP_MS)));
      return;
    }
    const { words, at, seen } = this;
    const waiting = Atomics.waitAsync(words, at, seen, limit);
    if (!waiting.async) return;
    // The engine may not keep the time, and nothing else may keep Node alive. Whoever else is woken
    // looks again; a wait that was only forgotten here would still take what wakes another.
    const timer = setTimeout(() => Atomics.notify(words, at), limit + LATE_MS);
    await waiting.value;
    clearTimeout(timer);
  }

  /**
   * Wakes waiters, after the state has changed.
   * @param {number} count how many can have what they want now
   */
  wake(count) {
    const { words, at, bell } = this;
    if (Atomics.load(words, at + WAITERS) > 0) {
      // Those who let the hungry one go first wait for the same word.
      const all = Atomics.load(words, at + HUNGRY) !== 0;
      Atomics.notify(words, at, all ? Number.POSITIVE_INFINITY : count);
    }
    if (bell && this.arena.isWatched()) bell.ring();
  }

  /**
   * @param {number} token
   * @returns {boolean} whether that thread may still do something
   */
  isAlive(token) {
    return this.arena.isSeated(token - 1);
  }

  /** What all primitives can tell. */
  counts() {
    const { words, at } = this;
    return {
      waiting: Atomics.load(words, at + WAITERS),
      waits: Atomics.load(words, at + WAITS) >>> 0,
    };
  }
}
