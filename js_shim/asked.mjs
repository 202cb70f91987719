/**
 * What a page has asked its hub, and is not answered.
 *
 * Owns the promises. Every one of them settles, once: with the value, with the Python error, with the
 * reason of an abort, with the end of the time or of the hub. Whoever takes it out of the table settles
 * it, and what comes later finds nothing. Knows nothing of how anything travels.
 */

/** A Python exception, or the end of what should have answered. */
export class PyworkersError extends Error {
  /**
   * @param {string} name of the Python exception's type
   * @param {string} message
   * @param {string} pythonTraceback "" where no Python code is to blame
   */
  constructor(name, message, pythonTraceback = "") {
    super(message);
    this.name = name;
    this.pythonTraceback = pythonTraceback;
  }
}

/**
 * @typedef {object} Pending
 * @property {(value: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {import("./channels.mjs").RequestOptions["onProgress"]} [onProgress]
 */

/** The id of what is answered when the hub is ready. */
export const READY = 0;

/** What takes longer than setTimeout can wait, nobody waits for. */
const MAX_TIMER_SECONDS = 2_147_483;

/** The table of one connection. */
export class Asked {
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  #lastId = READY;
  /** @type {PyworkersError | undefined} */
  #over;

  /** @returns {number} one that was never used */
  newId() {
    return ++this.#lastId;
  }

  /**
   * @param {number} id
   * @param {Pending["onProgress"]} [onProgress]
   * @returns {Promise<any>} of the answer
   * @throws {PyworkersError} the connection is closed
   */
  promise(id, onProgress) {
    if (this.#over) throw this.#over;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onProgress });
    });
  }

  /** @param {number} id */
  isAsked(id) {
    return this.#pending.has(id);
  }

  /**
   * @param {number} id
   * @returns {Pending | undefined} what waits for this id, which is then forgotten
   */
  take(id) {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  /** @returns {Pending[]} all that waits, but for the hub to be ready; which is then forgotten */
  takeAll() {
    const ids = [...this.#pending.keys()].filter((id) => id !== READY);
    return ids.map((id) => /** @type {Pending} */ (this.take(id)));
  }

  /**
   * Has whatever is asked from now on rejected.
   * @param {PyworkersError} over
   * @returns {Pending[]} all that waits, which is then forgotten
   */
  close(over) {
    this.#over = over;
    return this.takeAll();
  }

  /** @param {{id: number, done: number, total?: number, message: string}} told */
  progress(told) {
    this.#pending.get(told.id)?.onProgress?.(told);
  }

  /**
   * Sends what has an answer.
   * @param {import("./channels.mjs").RequestOptions} options with the `timeout` that is watched here
   * @param {(id: number) => void} withdraw tells the hub that nobody wants the answer
   * @param {(id: number) => string} send returns what to say when the time is over
   * @returns {Promise<any>}
   */
  async ask({ signal, onProgress, timeout }, withdraw, send) {
    signal?.throwIfAborted();
    const id = this.newId();
    const result = this.promise(id, onProgress);
    const end = (/** @type {unknown} */ reason) => {
      withdraw(id);
      this.take(id)?.reject(reason);
    };
    const aborted = () => end(signal?.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    let timer;
    try {
      const late = send(id);
      if (typeof timeout === "number" && timeout < MAX_TIMER_SECONDS) {
        const error = () => new PyworkersError("TimeoutError", `${late} within ${timeout} s`);
        timer = setTimeout(() => end(error()), timeout * 1000);
      }
      return await result;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      this.take(id);
    }
  }
}
