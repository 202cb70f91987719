/**
 * How a page reaches an object of Python that it has a twin of.
 *
 * Owns how the twin follows it. Where memory is shared, a twin reads and writes the same words as
 * Python does: that costs no message, so it can be done in each frame. Elsewhere it has a copy of
 * the state, which the hub sends anew as soon as it has changed; what this page changes is in the
 * copy at once, and is posted.
 */

/** Waits are looked after so often, for what has ended them. */
const SLICE_MS = 1_000;

/**
 * What a twin needs of that which it is the twin of.
 * @typedef {object} Core
 * @property {(operation: string, ...args: any[]) => void} tell changes it
 * @property {(operation: string, ...args: any[]) => Promise<any>} ask changes it, and returns what
 *   Python does
 * @property {() => any[]} values
 * @property {() => Promise<void>} refresh
 * @property {(active: () => boolean, tell: () => void) => void} follow calls after each change, as
 *   long as that is active
 * @property {AbortSignal} over aborted when nothing is to be followed any more, for its reason
 */

/** @type {Readonly<Record<string, (words: any) => any[]>>} */
const READ = Object.freeze({
  Counter32: (words) => [words.get()],
  Counter64: (words) => [words.get()],
  Flag: (words) => [Number(words.isSet())],
  Progress: (words) => words.state().slice(1),
});

/** @implements {Core} */
export class Shared {
  /**
   * @param {any} words of the shim's primitive
   * @param {string} kind
   * @param {AbortSignal} over aborted when nothing is to be followed any more
   */
  constructor(words, kind, over) {
    this.words = words;
    this.kind = kind;
    this.over = over;
  }

  /**
   * @param {string} operation
   * @param {any[]} args
   */
  tell(operation, ...args) {
    this.words[operation](...args);
  }

  /**
   * @param {string} operation
   * @param {any[]} args
   */
  async ask(operation, ...args) {
    return this.words[operation](...args);
  }

  values() {
    return /** @type {(words: any) => any[]} */ (READ[this.kind])(this.words);
  }

  async refresh() {}

  /**
   * @param {() => boolean} active
   * @param {() => void} tell
   */
  async follow(active, tell) {
    const { words } = this;
    words.enter();
    try {
      let known = words.load(0);
      while (active() && !this.over.aborted) {
        words.seen = known;
        await words.changed(SLICE_MS);
        if (words.load(0) === known) continue;
        known = words.load(0);
        if (active()) tell();
      }
    } finally {
      words.leave();
    }
  }
}

const wrapped = (/** @type {number} */ bits) => (/** @type {bigint} */ value) => {
  const number = BigInt.asIntN(bits, value);
  return Number.isSafeInteger(Number(number)) ? Number(number) : number;
};

/**
 * @param {(value: bigint) => number | bigint} fit
 * @returns {Record<string, (values: any[], ...args: any[]) => any[]>}
 */
const counting = (fit) => ({
  add: ([value, ...rest], n) => [fit(BigInt(value) + BigInt(n)), ...rest],
  put: ([, ...rest], value) => [fit(BigInt(value)), ...rest],
});

/**
 * What operations do to the copy of a state.
 * @type {Readonly<Record<string, Record<string, (values: any[], ...args: any[]) => any[]>>>}
 */
const CHANGES = Object.freeze({
  Counter32: counting(wrapped(32)),
  Counter64: counting(wrapped(64)),
  Flag: { put: (_, value) => [value], toggle: ([value]) => [1 - value] },
  Progress: { ...counting(wrapped(64)), reset: (_, total) => [0, total] },
});

/** @implements {Core} */
export class Remote {
  /** @type {{operation: string, args: any[]}[]} changes of this page that the hub has not told of */
  #own = [];
  /** @type {Set<() => void>} */
  #followers = new Set();
  #gone = new AbortController();

  /**
   * @param {import("./channels.mjs").Channel} channel
   * @param {number} id
   * @param {string} kind
   * @param {any[]} state number of changes, and values
   * @param {AbortSignal} over
   */
  constructor(channel, id, kind, state, over) {
    this.over = over;
    this.channel = channel;
    this.id = id;
    this.kind = kind;
    this.state = state;
  }

  /**
   * @param {string} operation
   * @param {any[]} args
   */
  tell(operation, ...args) {
    const change = { operation, args };
    this.#own.push(change);
    const payload = [this.id, operation, args];
    this.channel
      .request("tell", payload, { timeout: null })
      .catch((error) => console.error(error))
      .then((state) => {
        // What the hub says of it comes before anything that it says of later changes.
        this.#own.splice(this.#own.indexOf(change), 1);
        if (state) this.heard(state);
      });
    this.#changed();
  }

  /**
   * @param {string} operation
   * @param {any[]} args
   */
  ask(operation, ...args) {
    return this.channel.request("ask", [this.id, operation, args], { timeout: null });
  }

  values() {
    const changes = /** @type {any} */ (CHANGES[this.kind]);
    return this.#own.reduce(
      (values, { operation, args }) => changes[operation](values, ...args),
      this.state.slice(1),
    );
  }

  async refresh() {
    this.heard(await this.channel.request("changed", [this.id, -1], { timeout: null }));
  }

  /** @param {any[]} state as the hub tells it */
  heard(state) {
    if (state[0] <= this.state[0]) return;
    this.state = state;
    this.#changed();
  }

  #changed() {
    for (const tell of [...this.#followers]) tell();
  }

  /**
   * @param {() => boolean} active
   * @param {() => void} tell
   */
  follow(active, tell) {
    const own = () => {
      if (active()) tell();
      else this.#followers.delete(own);
    };
    this.#followers.add(own);
  }

  /** Begins to hear of changes, until the twin is gone, or the connection. */
  listen() {
    return listen(new WeakRef(this), this.channel, this.id, this.#gone);
  }
}

/**
 * Knows of the copy only what the garbage collector may forget.
 * @param {WeakRef<Remote>} ref
 * @param {import("./channels.mjs").Channel} channel
 * @param {number} id
 * @param {AbortController} gone
 */
function listen(ref, channel, id, gone) {
  const { signal } = gone;
  const next = async () => {
    for (;;) {
      const known = ref.deref()?.state[0];
      if (known === undefined) return;
      const state = await channel.request("changed", [id, known], { timeout: null, signal });
      ref.deref()?.heard(state);
    }
  };
  next().catch(() => {}); // the twin is gone, or the connection, which tells all who wait
  return () => gone.abort();
}
