/**
 * Barriers, latches, and what is to be done once: in shared memory.
 *
 * Owns the words of each, from those of `waiting.mjs` on, and their transitions.
 *
 * Latch: state is how much there is still to count down.
 *   4 count     what it was at first
 * Once: state is 0 before, the token of who does it, or -1 when it is done.
 *   4 runs      how often somebody began, modulo 2^32
 * Barrier: state goes on when it may be arrived at again.
 *   4 guard     of all that follows, see `slots.mjs`
 *   5 parties   how many must arrive
 *   6 phase     0 they arrive, 1 all have and the last of them acts, 2 broken
 *   7 clock     of arrivals
 *   8 trips     how often all have arrived, modulo 2^32
 *   9 breaks    how often it was broken, modulo 2^32
 *   12 and on   slots: who waits has arrived. Each is told what came of its own round, however late
 *               it looks; the note of one is how many came before it
 */

import { Guard, Table, WAITING } from "./slots.mjs";
import { DONE, INHERITED, NOT_YET, OWN, Waiting } from "./waiting.mjs";

const COUNT = OWN;
const RUNS = OWN;
const GUARD = OWN;
const PARTIES = OWN + 1;
const PHASE = OWN + 2;
const CLOCK = OWN + 3;
const TRIPS = OWN + 4;
const BREAKS = OWN + 5;
const TABLE = 12;

const IS_DONE = -1;

const ARRIVING = 0;
const ACTING = 1;
const BROKEN = 2;

/** What `arrive` returns in place of a number of arrivals. */
const IS_BROKEN = -1;
const IS_ACTING = -2;
const IS_FULL = -3;

/** What came of a slot. */
const PASSED = 2;
const FAILED = 3;

/** Something that is counted down to 0. */
export class Latch extends Waiting {
  contended = false;

  /** @param {number} count */
  initialize(count) {
    Atomics.store(this.words, this.at + COUNT, count);
    Atomics.store(this.words, this.at, count);
  }

  /** @param {number} state */
  take(state) {
    return state === 0 ? DONE : NOT_YET;
  }

  /**
   * @param {number} count
   * @returns {boolean} false: there is not so much left
   */
  countDown(count) {
    const { words, at } = this;
    for (let value = this.load(0); ; ) {
      if (value < count) return false;
      const found = Atomics.compareExchange(words, at, value, value - count);
      if (found === value) break;
      value = found;
    }
    if (this.load(0) === 0) this.wake(Number.POSITIVE_INFINITY);
    return true;
  }

  statistics() {
    return { ...this.counts(), value: this.load(0), count: this.load(COUNT) };
  }
}

/** Something that one does, and all others wait for. Who gets it INHERITED is to do it. */
export class Once extends Waiting {
  contended = false;

  /** @param {number} state */
  take(state) {
    if (state === IS_DONE) return DONE;
    if (state === this.token || (state !== 0 && this.isAlive(state))) return NOT_YET;
    const { words, at, token } = this;
    this.seen = Atomics.compareExchange(words, at, state, token);
    if (this.seen !== state) return NOT_YET;
    Atomics.add(words, at + RUNS, 1);
    return INHERITED;
  }

  /**
   * @param {boolean} done false: another may try
   * @returns {boolean} false: it was not this thread's to do
   */
  finish(done) {
    const { words, at, token } = this;
    this.taken = false;
    if (Atomics.compareExchange(words, at, token, done ? IS_DONE : 0) !== token) return false;
    this.wake(Number.POSITIVE_INFINITY);
    return true;
  }

  /** @returns {boolean} whether this thread is about it */
  isMine() {
    return this.load(0) === this.token;
  }

  statistics() {
    const state = this.load(0);
    return {
      ...this.counts(),
      runs: this.load(RUNS) >>> 0,
      done: state === IS_DONE,
      runner: state > 0 && this.isAlive(state) ? state - 1 : -1,
    };
  }
}

/** A place that threads pass together. */
export class Barrier extends Waiting {
  contended = false;

  /**
   * @param {import("./arena.mjs").Arena} arena of this thread
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   */
  constructor(arena, offset, bell) {
    super(arena, offset, bell);
    this.guard = new Guard(this, this.at + GUARD, () => this.#break());
    this.table = new Table(arena, offset + 4 * TABLE, bell, () => {
      this.#look();
      return false;
    });
  }

  /** @param {number} parties */
  initialize(parties) {
    Atomics.store(this.words, this.at + PARTIES, parties);
  }

  /**
   * Who comes while the last of a round acts waits until that is over.
   * @param {number} _
   * @param {number} waited
   */
  take(_, waited) {
    if (waited > 0) this.#look();
    return this.load(PHASE) === ACTING ? NOT_YET : DONE;
  }

  /** Breaks it if one of those that have arrived has ended. */
  #look() {
    if (this.#isForsaken()) this.guard.run(() => this.#isForsaken() && this.#break());
  }

  #isForsaken() {
    return this.table.all(WAITING).some((slot) => !slot.isOwned());
  }

  /**
   * @param {number} phase
   * @param {number} outcome for those that have arrived
   */
  #end(phase, outcome) {
    const { words, at } = this;
    for (const slot of this.table.all(WAITING)) slot.mark(outcome, slot.order);
    Atomics.store(words, at + PHASE, phase);
    Atomics.add(words, at, 1);
    this.wake(Number.POSITIVE_INFINITY);
  }

  #pass() {
    Atomics.add(this.words, this.at + TRIPS, 1);
    this.#end(ARRIVING, PASSED);
  }

  #break() {
    if (this.load(PHASE) !== BROKEN) Atomics.add(this.words, this.at + BREAKS, 1);
    this.#end(BROKEN, FAILED);
  }

  /**
   * @param {number} ticket
   * @param {boolean} acts whether there is something to do for the last one, who then calls `trip`
   * @returns {number} how many had arrived before, or why this one cannot
   */
  arrive(ticket, acts) {
    return this.guard.run(() => {
      const { words, at } = this;
      const phase = this.load(PHASE);
      if (phase === BROKEN) return IS_BROKEN;
      if (this.#isForsaken()) {
        this.#break();
        return IS_BROKEN;
      }
      if (phase === ACTING) return IS_ACTING;
      const before = this.table.all(WAITING).length;
      const clock = Atomics.add(words, at + CLOCK, 1) + 1;
      if (!this.table.reserve(ticket, clock, before, () => true)) return IS_FULL;
      if (before + 1 < this.load(PARTIES)) return before;
      if (acts) Atomics.store(words, at + PHASE, ACTING);
      else this.#pass();
      return before;
    });
  }

  /**
   * The last one has acted.
   * @param {number} ticket
   * @returns {boolean} false: it was broken meanwhile
   */
  trip(ticket) {
    return this.guard.run(() => {
      if (this.table.find(ticket)?.state !== WAITING) return false;
      this.#pass();
      return true;
    });
  }

  /**
   * Ends an arrival; one that has not come to its end breaks the barrier.
   * @param {number} ticket
   * @returns {boolean} whether it has passed
   */
  finish(ticket) {
    return this.guard.run(() => {
      const slot = this.table.find(ticket);
      if (!slot) return false;
      if (slot.state === WAITING) this.#break();
      const passed = slot.state === PASSED;
      slot.clear();
      return passed;
    });
  }

  /** Makes it as new; who has arrived finds it broken. */
  reset() {
    this.guard.run(() => this.#end(ARRIVING, FAILED));
  }

  abort() {
    this.guard.run(() => this.#break());
  }

  /** @param {number} ticket */
  part(ticket) {
    const slot = this.table.find(ticket);
    if (!slot) throw new Error("there is no such arrival");
    return slot;
  }

  statistics() {
    this.#look();
    const phase = this.load(PHASE);
    return {
      parties: this.load(PARTIES),
      arrived: phase === ARRIVING ? this.table.all(WAITING).length : 0,
      broken: phase === BROKEN,
      trips: this.load(TRIPS) >>> 0,
      breaks: this.load(BREAKS) >>> 0,
    };
  }
}
