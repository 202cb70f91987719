/**
 * Conditions: who holds a lock waits, without it, until another who holds it says that something
 * has changed.
 *
 * Owns who is woken by what. Knows nothing of what the lock guards.
 *
 *   0 clock           of those who come and of what they are notified of, modulo 2^32
 *   1 waits           how many there ever were
 *   2 notifications   how many waits were notified
 *   4 and on          slots, see `slots.mjs`; the note of one is how deep its owner had the lock,
 *                     the order of one that is notified is the number of the notification
 *
 * Only who holds the lock changes these. A wait ends in the moment in which its owner has the lock
 * again: so either there is a slot and its owner is without the lock, or neither.
 *
 * A notification is for those who came before it, and goes on to the next of them if its receiver
 * gives up or has ended. As it has a number, it is not there twice if who hands it on ends in
 * the midst of that. Its receiver may give up even when it has the lock again, before its caller
 * knows: until it frees the lock no other wait ends, so one such receiver is all there is to remember.
 */

import { DEPTH, Lock } from "./locks.mjs";
import { Table, WAITING } from "./slots.mjs";
import { DONE, INHERITED, NOT_YET } from "./waiting.mjs";

const CLOCK = 0;
const WAITS = 1;
const NOTIFICATIONS = 2;
const TABLE = 4;

const NOTIFIED = 2;

/** What `suspend` and `notify` return to who does not hold the lock. */
const NOT_HELD = -1;

/** What becomes of a wait when its lock is there again, and it was not notified. */
const GOES_ON = 0;
const ENDS = 1;
const GIVES_UP = 2;

/** Added to what came of taking the lock back. */
const WAS_NOTIFIED = 4;
const STILL_WAITS = 8;

/** The lock, as one wait takes it back, unless it has it. */
class Return extends Lock {
  /**
   * @param {Condition} condition
   * @param {Lock} lock
   * @param {number} ticket of the wait
   * @param {number} how
   */
  constructor(condition, lock, ticket, how) {
    super(lock.arena, lock.at * 4, lock.bell);
    this.condition = condition;
    this.ticket = ticket;
    this.how = how;
  }

  /**
   * @param {number} state
   * @param {number} waited
   */
  take(state, waited) {
    const { condition, ticket, how } = this;
    if (!condition.isPending(ticket)) {
      if (how === GIVES_UP) condition.withdraw(ticket);
      return DONE;
    }
    const got = super.take(state, waited);
    if (got === NOT_YET) return got;
    return got + condition.settle(this, ticket, got === INHERITED ? Math.max(how, ENDS) : how);
  }
}

/** What is waited for by those who hold a lock. It is bound to it before anything else. */
export class Condition {
  /**
   * @param {import("./arena.mjs").Arena} arena of this thread
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   */
  constructor(arena, offset, bell) {
    this.table = new Table(
      arena,
      offset + 4 * TABLE,
      bell,
      (slot) => this.#owed(slot) !== undefined,
    );
    this.words = this.table.words;
    this.at = offset / 4;
    this.lock = /** @type {Lock} */ (/** @type {unknown} */ (undefined));
    /**
     * The last wait that ended here and was notified, and the number of that.
     * @type {{ticket: number, number: number} | undefined}
     */
    this.told = undefined;
  }

  /** @param {Lock} lock that it belongs to, as this thread has it */
  bind(lock) {
    this.lock = lock;
  }

  /** @returns {number} of the clock, which goes on */
  #tick() {
    return Atomics.add(this.words, this.at + CLOCK, 1) + 1;
  }

  /**
   * Gives the lock back and begins a wait.
   * @param {number} ticket
   * @returns {number} NOT_HELD, 0 if there is no room for it, else how deep the lock was held
   */
  suspend(ticket) {
    const { lock } = this;
    if (!lock.isMine()) return NOT_HELD;
    const depth = lock.load(DEPTH);
    const isForgotten = (/** @type {import("./slots.mjs").Slot} */ slot) =>
      slot.state === WAITING || this.#first(slot.order) === undefined;
    if (!this.table.reserve(ticket, this.#tick(), depth, isForgotten)) return 0;
    Atomics.add(this.words, this.at + WAITS, 1);
    lock.release();
    return depth;
  }

  /**
   * @param {number} ticket
   * @returns {boolean} whether that wait has begun, and has not the lock again
   */
  isPending(ticket) {
    return this.table.find(ticket) !== undefined;
  }

  /**
   * @param {number} ticket
   * @param {number} [how] the lock is to be taken back, and this is then to happen
   * @returns {Lock | import("./slots.mjs").Slot} what that wait is for, or the lock
   */
  part(ticket, how) {
    if (how !== undefined) return new Return(this, this.lock, ticket, how);
    const slot = this.table.find(ticket);
    if (!slot) throw new Error("there is no such wait");
    return slot;
  }

  /**
   * Ends a wait, or goes on with it, in the moment in which it has the lock.
   * @param {Lock} lock
   * @param {number} ticket
   * @param {number} how
   * @returns {number} what is added to what came of taking the lock
   */
  settle(lock, ticket, how) {
    const slot = this.table.find(ticket);
    if (!slot) return 0;
    if (slot.state === WAITING) {
      const owed = this.#owed(slot);
      if (owed !== undefined) this.#hand(owed, slot);
    }
    if (slot.state === WAITING && how === GOES_ON) {
      lock.release();
      return STILL_WAITS;
    }
    const notified = slot.state === NOTIFIED;
    this.told = notified ? { ticket, number: slot.order } : undefined;
    if (how === GIVES_UP) this.withdraw(ticket);
    Atomics.store(lock.words, lock.at + DEPTH, slot.note);
    slot.clear();
    return notified ? WAS_NOTIFIED : 0;
  }

  /**
   * Hands on what a wait that has the lock again was notified of.
   * @param {number} ticket
   */
  withdraw(ticket) {
    const { told } = this;
    if (told?.ticket !== ticket || !this.lock.isMine()) return;
    this.told = undefined;
    this.#first(told.number)?.mark(NOTIFIED, told.number);
  }

  /**
   * Wakes waits, those that came first.
   * @param {number} count
   * @returns {number} how many it were, or NOT_HELD
   */
  notify(count) {
    if (!this.lock.isMine()) return NOT_HELD;
    let woken = 0;
    while (woken < count) {
      const number = this.#tick();
      const slot = this.#first(number);
      if (!slot) break;
      slot.mark(NOTIFIED, number);
      woken++;
    }
    Atomics.add(this.words, this.at + NOTIFICATIONS, woken);
    return woken;
  }

  /**
   * @param {number} number of a notification
   * @returns {import("./slots.mjs").Slot | undefined} who came first of those that it is for
   */
  #first(number) {
    for (const slot of this.table.all(WAITING)) {
      if (((slot.order - number) | 0) >= 0) return undefined;
      if (slot.isOwned()) return slot;
      slot.clear();
    }
    return undefined;
  }

  /**
   * @param {import("./slots.mjs").Slot} slot of one who waits
   * @returns {number | undefined} a notification that is for it too, and whose receiver has ended
   */
  #owed({ order }) {
    const after = this.table.all(NOTIFIED).filter((slot) => ((slot.order - order) | 0) > 0);
    return after.find((slot) => !slot.isOwned())?.order;
  }

  /**
   * Gives a wait a notification whose receivers have ended.
   * @param {number} number
   * @param {import("./slots.mjs").Slot} slot
   */
  #hand(number, slot) {
    const before = this.table.all(NOTIFIED).filter(({ order }) => order === number);
    if (before.every((other) => !other.isOwned())) slot.mark(NOTIFIED, number);
    for (const other of before) if (!other.isOwned()) other.clear();
  }

  statistics() {
    const { words, at } = this;
    return {
      waiting: this.table.all(WAITING).length,
      waits: Atomics.load(words, at + WAITS) >>> 0,
      notifications: Atomics.load(words, at + NOTIFICATIONS) >>> 0,
    };
  }
}
