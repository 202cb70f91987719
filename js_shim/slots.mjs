/**
 * Tables of those who wait in shared memory, and sections that one thread at a time runs.
 *
 * Owns a place for each wait, a word of its own to wait for, and how places are found, reserved
 * and reclaimed from who has ended. Knows nothing of what they are waited in for.
 *
 * A slot begins with the words of `waiting.mjs`; its state is 0 while it is free, 1 while somebody
 * waits in it, and else what came of that. Behind them:
 *   4 owner   token of the thread that waits
 *   5 ticket  by which that thread knows it; none is used twice
 *   6 order   when it came, or what happened to it, on a clock of the table
 *   7 note    what its wait has to remember
 * The state is stored last: a thread that ends while it reserves a slot leaves it free.
 *
 * A guard is a word that holds the token of whoever is in a section, which takes microseconds.
 * Whoever finds that a thread has ended in there sets right what it may have left half changed.
 */

import { DONE, NOT_YET, OWN, Waiting } from "./waiting.mjs";

const OWNER = OWN;
const TICKET = OWN + 1;
const ORDER = OWN + 2;
const NOTE = OWN + 3;
const SLOT_WORDS = 8;
export const FREE = 0;
export const WAITING = 1;

const NAP_MS = 1;

/** One place in a table. */
export class Slot extends Waiting {
  contended = false;

  /**
   * @param {import("./arena.mjs").Arena} arena
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   * @param {(slot: Slot) => boolean} look whether there is more to do than to wait; called now and
   *   then by whoever waits
   */
  constructor(arena, offset, bell, look) {
    super(arena, offset, bell);
    this.look = look;
  }

  /**
   * @param {number} state
   * @param {number} waited
   */
  take(state, waited) {
    if (state !== WAITING) return DONE;
    return waited > 0 && this.look(this) ? DONE : NOT_YET;
  }

  get state() {
    return this.load(0);
  }

  get order() {
    return this.load(ORDER);
  }

  get note() {
    return this.load(NOTE);
  }

  /** @returns {boolean} whether the thread that waits here may still do something */
  isOwned() {
    return this.isAlive(this.load(OWNER));
  }

  /**
   * @param {number} ticket
   * @param {number} order
   * @param {number} note
   */
  reserve(ticket, order, note) {
    const { words, at, token } = this;
    for (let i = 1; i < OWN; i++) Atomics.store(words, at + i, 0);
    Atomics.store(words, at + OWNER, token);
    Atomics.store(words, at + TICKET, ticket);
    Atomics.store(words, at + ORDER, order);
    Atomics.store(words, at + NOTE, note);
    Atomics.store(words, at, WAITING);
  }

  /** @param {number} ticket */
  isOf(ticket) {
    return this.load(TICKET) === ticket && this.load(OWNER) === this.token && this.state !== FREE;
  }

  /**
   * @param {number} state that who waits here is woken for
   * @param {number} order
   */
  mark(state, order) {
    Atomics.store(this.words, this.at + ORDER, order);
    Atomics.store(this.words, this.at, state);
    this.wake(1);
  }

  clear() {
    Atomics.store(this.words, this.at, FREE);
  }
}

/** The slots of one primitive. Only who holds its lock or guard changes them. */
export class Table {
  /** So many can wait in one. */
  static size = 128;

  /** @type {Slot[]} */
  #slots = [];

  /**
   * @param {import("./arena.mjs").Arena} arena
   * @param {number} offset of the first slot
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   * @param {(slot: Slot) => boolean} look see `Slot`
   */
  constructor(arena, offset, bell, look) {
    this.arena = arena;
    this.offset = offset;
    this.bell = bell;
    this.look = look;
    this.words = new Int32Array(arena.bytes(offset, Table.size * SLOT_WORDS * 4).buffer);
  }

  /** @param {number} index */
  #slot(index) {
    let slot = this.#slots[index];
    if (!slot) {
      const offset = this.offset + index * SLOT_WORDS * 4;
      slot = new Slot(this.arena, offset, this.bell, this.look);
      this.#slots[index] = slot;
    }
    return slot;
  }

  /**
   * @param {number} state
   * @returns {Slot[]} those in that state, the first to come first
   */
  all(state) {
    const found = [];
    for (let index = 0; index < Table.size; index++) {
      const word = this.offset / 4 + index * SLOT_WORDS;
      if (Atomics.load(this.words, word) === state) found.push(this.#slot(index));
    }
    return found.sort((a, b) => (a.order - b.order) | 0);
  }

  /**
   * @param {number} ticket of this thread
   * @returns {Slot | undefined}
   */
  find(ticket) {
    for (let index = 0; index < Table.size; index++) {
      const word = this.offset / 4 + index * SLOT_WORDS + TICKET;
      if (Atomics.load(this.words, word) !== ticket) continue;
      const slot = this.#slot(index);
      if (slot.isOf(ticket)) return slot;
    }
    return undefined;
  }

  /**
   * @param {number} ticket
   * @param {number} order
   * @param {number} note
   * @param {(slot: Slot) => boolean} isForgotten whether what was of a thread that has ended may go
   * @returns {Slot | undefined} undefined: all are in use
   */
  reserve(ticket, order, note, isForgotten) {
    for (let index = 0; index < Table.size; index++) {
      if (Atomics.load(this.words, this.offset / 4 + index * SLOT_WORDS) !== FREE) continue;
      const slot = this.#slot(index);
      slot.reserve(ticket, order, note);
      return slot;
    }
    for (let index = 0; index < Table.size; index++) {
      const slot = this.#slot(index);
      if (slot.isOwned() || !isForgotten(slot)) continue;
      slot.clear();
      slot.reserve(ticket, order, note);
      return slot;
    }
    return undefined;
  }
}

/** Lets one thread at a time into short sections. */
export class Guard {
  /** Tries before a nap. */
  static spins = 1_000;
  /** So many milliseconds who is in a section may be without a core. */
  static patience = 5_000;

  /**
   * @param {import("./waiting.mjs").Waiting} owner whose thread it is
   * @param {number} index of its word
   * @param {() => void} repair what another thread may have left half changed
   */
  constructor(owner, index, repair) {
    this.owner = owner;
    this.index = index;
    this.repair = repair;
  }

  /**
   * @template T
   * @param {() => T} section
   * @returns {T}
   * @throws {Error} another thread was in one for seconds: it may have ended, and the broker not
   *   have told, as it shares the hub's thread in Node and that one is blocked
   */
  run(section) {
    const { owner, index } = this;
    const { words, token } = owner;
    let limit = 0;
    for (let i = 1; ; i++) {
      const holder = Atomics.compareExchange(words, index, 0, token);
      if (holder === 0) break;
      if (i % Guard.spins !== 0) continue;
      if (!owner.isAlive(holder)) {
        if (Atomics.compareExchange(words, index, holder, token) !== holder) continue;
        this.repair();
        break;
      }
      const now = performance.now();
      limit ||= now + Guard.patience;
      if (now > limit) {
        throw new Error(
          `a primitive in shared memory is held by worker ${holder - 1}, which does not run; if it ` +
            "was ended while this thread is blocked, await something first",
        );
      }
      if (owner.arena.canBlock) Atomics.wait(words, index, holder, NAP_MS);
    }
    try {
      return section();
    } finally {
      Atomics.store(words, index, 0);
    }
  }
}
