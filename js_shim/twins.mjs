/**
 * Objects of Python that a page can look at and change: progress, cancellation, counter and flag.
 *
 * Owns what a page sees of them. How it reaches them, and hears of changes, stands in
 * `twin_cores.mjs`.
 */

import { PRIMITIVES } from "./sync.mjs";
import { Remote, Shared } from "./twin_cores.mjs";

/** @type {WeakMap<object, import("./twin_cores.mjs").Core>} */
const cores = new WeakMap();
/** @type {WeakMap<object, number>} */
const ids = new WeakMap();

/** What a page has of an object of Python; pass it to `run`, or on a channel, and Python gets that. */
class Twin {
  /** @param {import("./twin_cores.mjs").Core} core */
  constructor(core) {
    cores.set(this, core);
  }

  /** @returns {import("./twin_cores.mjs").Core} */
  get core() {
    return /** @type {import("./twin_cores.mjs").Core} */ (cores.get(this));
  }

  /**
   * Waits until this page knows all that has happened by now, such as what a task did whose result
   * has come. Where memory is shared, it always does.
   * @returns {Promise<void>}
   */
  refresh() {
    return this.core.refresh();
  }

  /**
   * Has a function called after changes, with the last state; changes that come faster than it is
   * called are told by one call.
   * @param {() => void} tell
   * @returns {() => void} what ends it
   */
  follow(tell) {
    let active = true;
    this.core.follow(() => active, tell);
    return () => {
      active = false;
    };
  }
}

/** How much is done, of how much: Python's `SharedProgress`. */
export class SharedProgress extends Twin {
  /** @returns {number} how much is done */
  get() {
    return this.core.values()[0];
  }

  /** How much there is to do; undefined where that is not known. @returns {number | undefined} */
  get total() {
    const total = this.core.values()[1];
    return total === -1 ? undefined : total;
  }

  /** How much of the total is done, 0 to 100; undefined where that is not known. */
  get percent() {
    const [done, total] = this.core.values();
    if (total === -1) return undefined;
    return total === 0 ? 100 : Math.min(Math.max((100 * Number(done)) / Number(total), 0), 100);
  }

  /** @param {number} [n] how much more is done */
  increment(n = 1) {
    this.core.tell("add", integer(n));
  }

  /** @param {number} done how much is done */
  set(done) {
    this.core.tell("put", integer(done));
  }

  /**
   * Begins anew, with nothing done.
   * @param {number} [total] how much there is to do now; absent where that is not known
   */
  reset(total) {
    this.core.tell("reset", total === undefined ? -1 : integer(total));
  }

  /**
   * Has a function called now and after changes; those that come faster are told by one call. To
   * draw, look at it in each frame instead.
   * @param {(done: number, total: number | undefined) => void} listener
   * @returns {() => void} what ends it
   */
  subscribe(listener) {
    listener(this.get(), this.total);
    return this.follow(() => listener(this.get(), this.total));
  }
}

/** What asks all to stop who were given it: Python's `SharedCancellation`. */
export class SharedCancellation extends Twin {
  #controller = new AbortController();
  #isFollowed = false;

  /** Asks them; for good. */
  cancel() {
    this.core.tell("put", 1);
    this.#abort();
  }

  /** Whether somebody has. */
  get cancelled() {
    return this.core.values()[0] === 1;
  }

  /** A signal that is aborted then. */
  get signal() {
    if (this.cancelled) this.#abort();
    else if (!this.#isFollowed) {
      this.#isFollowed = true;
      const { signal } = this.#controller;
      this.core.follow(
        () => !signal.aborted,
        () => this.cancelled && this.#abort(),
      );
      if (this.cancelled) this.#abort(); // between the two
    }
    return this.#controller.signal;
  }

  #abort() {
    this.#controller.abort();
  }

  /**
   * Has a function called once it is cancelled, at once if it is.
   * @param {() => void} listener
   * @returns {() => void} what ends it
   */
  subscribe(listener) {
    const { signal } = this;
    if (signal.aborted) listener();
    signal.addEventListener("abort", listener, { once: true });
    return () => signal.removeEventListener("abort", listener);
  }
}

/** An integer to which all can add: Python's `SharedCounter`. */
export class SharedCounter extends Twin {
  /** @returns {number | bigint} its value; a number, where one can hold it */
  get() {
    return this.core.values()[0];
  }

  /** @param {number | bigint} [n] */
  add(n = 1) {
    this.core.tell("add", integer(n));
  }

  /** @param {number | bigint} [n] */
  subtract(n = 1) {
    this.core.tell("add", integer(-n));
  }

  /** @param {number | bigint} value */
  set(value) {
    this.core.tell("put", integer(value));
  }

  /**
   * Sets it if it is what is expected.
   * @param {number | bigint} expected
   * @param {number | bigint} value
   * @returns {Promise<number | bigint>} what it was before: it was set if that is `expected`
   */
  compareAndSwap(expected, value) {
    return this.core.ask("compareExchange", integer(expected), integer(value));
  }
}

/** Something that is true or not: Python's `SharedFlag`. */
export class SharedFlag extends Twin {
  set() {
    this.core.tell("put", 1);
  }

  clear() {
    this.core.tell("put", 0);
  }

  toggle() {
    this.core.tell("toggle");
  }

  /** @returns {boolean} whether it is set */
  isSet() {
    return this.core.values()[0] === 1;
  }

  /** @returns {Promise<void>} when it is set; rejected if its hub ends before */
  async wait() {
    const { over } = this.core;
    over.throwIfAborted();
    const settled = new AbortController();
    try {
      await new Promise((resolve, reject) => {
        const { signal } = settled;
        over.addEventListener("abort", () => reject(over.reason), { signal });
        const look = () => this.isSet() && resolve(undefined);
        signal.addEventListener("abort", this.follow(look));
        look();
      });
    } finally {
      settled.abort();
    }
  }
}

/**
 * @param {number | bigint} value
 * @throws {TypeError} it is no integer
 */
function integer(value) {
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return value;
  throw new TypeError(`an integer is needed, not ${value}`);
}

/** By what Python says of them: class, and name of the words. */
const KINDS = Object.freeze({
  Progress: [SharedProgress, "Progress"],
  Cancellation: [SharedCancellation, "Flag"],
  Counter32: [SharedCounter, "Counter32"],
  Counter64: [SharedCounter, "Counter64"],
  Flag: [SharedFlag, "Flag"],
});

/** The twins of one connection. */
export class Twins {
  /** Whether there ever was one: nobody need look for them before. */
  static isUsed = false;
  /** @type {((kind: string, id: number) => import("./twin_cores.mjs").Core) | undefined} */
  #words;
  /** @type {Map<number, WeakRef<Twin>>} */
  #known = new Map();
  #over = new AbortController();
  #dropped;
  #channel;
  #drop;

  /**
   * @param {import("./channels.mjs").Channel} channel to the hub
   * @param {(id: number) => void} drop tells the hub that the page has dropped one
   */
  constructor(channel, drop) {
    channel.maxPending = Number.POSITIVE_INFINITY;
    this.#channel = channel;
    this.#drop = drop;
    this.#dropped = new FinalizationRegistry(
      (/** @type {{id: number, end: () => void}} */ told) => {
        if (!this.#known.get(told.id)?.deref()) this.#known.delete(told.id);
        told.end();
        drop(told.id);
      },
    );
  }

  /**
   * From now on they read and write shared memory.
   * @param {import("./arena.mjs").Arena} arena
   * @param {import("./ring.mjs").Doorbell} bell of the hub
   */
  share(arena, bell) {
    this.#words = (kind, id) => {
      const Words = /** @type {any} */ (PRIMITIVES)[kind];
      return new Shared(new Words(arena, id, bell), kind, this.#over.signal);
    };
  }

  /** Follows nothing any more. @param {Error} reason */
  close(reason) {
    this.#over.abort(reason);
  }

  /**
   * @param {{id: number, kind: keyof typeof KINDS, state: any[]}} told by Python
   * @returns {Twin} the one there is, or a new one
   */
  of({ id, kind, state }) {
    Twins.isUsed = true;
    const known = this.#known.get(id)?.deref();
    if (known) {
      this.#drop(id); // it was given twice, and there is one
      return known;
    }
    const [Type, words] = /** @type {[any, string]} */ (KINDS[kind]);
    const { signal } = this.#over;
    const remote = this.#words ? undefined : new Remote(this.#channel, id, words, state, signal);
    const twin = new Type(remote ?? this.#words?.(words, id));
    ids.set(twin, id);
    this.#known.set(id, new WeakRef(twin));
    this.#dropped.register(twin, { id, end: remote?.listen() ?? (() => {}) });
    return twin;
  }

  /**
   * @param {any} value
   * @returns {number | undefined} by which Python knows it; undefined if it is no twin
   * @throws {TypeError} it is the twin of something in another hub
   */
  idOf(value) {
    const id = ids.get(value);
    if (id !== undefined && this.#known.get(id)?.deref() !== value) {
      throw new TypeError(
        `this ${value.constructor.name} belongs to another hub, or one that is gone`,
      );
    }
    return id;
  }
}
