/**
 * Messages between JavaScript and Python in its hub: named channels, handlers and answers.
 *
 * Owns the handlers, and what they are answering. Knows nothing of how requests made here are
 * answered: the connection does, as it does for `run`.
 */

/**
 * What a handler is called with.
 * @typedef {object} Message
 * @property {string} channel its name
 * @property {string} kind what the handler was registered for
 * @property {any} payload plain data
 * @property {number} time when it was sent, in seconds since the epoch
 * @property {number} [id] of a request; absent if nobody waits for an answer
 * @property {AbortSignal} signal aborted when nobody wants the answer any more
 * @property {(done: number, total?: number, message?: string) => void} progress tells who waits how
 *   far it is
 */

/**
 * @typedef {object} RequestOptions
 * @property {number | null} [timeout] seconds until it fails with TimeoutError, 30 by default; null
 *   means never
 * @property {AbortSignal} [signal] ends it; a handler that is a coroutine is cancelled
 * @property {(progress: {done: number, total?: number, message: string}) => void} [onProgress]
 * @property {Transferable[]} [transfer] buffers in the payload that need not be copied, and are
 *   unusable here afterwards
 */

/**
 * What a channel needs of its connection.
 * @typedef {object} Line
 * @property {(message: any, transfer?: Transferable[]) => void} post
 * @property {(message: any, options: RequestOptions) => Promise<any>} ask
 * @property {(name: string, message: string) => Error} error
 */

const DEFAULT_SECONDS = 30;
const DEFAULT_PENDING = 100;

/** The time of a message, as Python has it. */
const now = () => Date.now() / 1000;

/** One end of a named channel. */
export class Channel {
  #line;
  #pending = 0;
  /** @type {Map<string, (message: Message) => any>} */
  handlers = new Map();

  /**
   * @param {string} name
   * @param {Line} line
   */
  constructor(name, line) {
    this.name = name;
    this.#line = line;
    /** How many requests may wait for their answers. */
    this.maxPending = DEFAULT_PENDING;
  }

  /**
   * Has a function called with each message of a kind that Python sends. What it returns, or
   * resolves to, is the answer to a request; what it throws is raised there. A later one for the
   * same kind takes its place.
   * @param {string} kind
   * @param {(message: Message) => any} handler
   * @returns {() => void} what ends it
   */
  on(kind, handler) {
    this.handlers.set(kind, handler);
    return () => {
      if (this.handlers.get(kind) === handler) this.handlers.delete(kind);
    };
  }

  /**
   * Sends Python a message, without an answer. Should it fail there, the console tells.
   * @param {string} kind
   * @param {any} [payload] plain data
   * @param {{transfer?: Transferable[]}} [options]
   */
  post(kind, payload, { transfer } = {}) {
    const message = { kind: "post", channel: this.name, name: kind, payload, time: now() };
    this.#line.post(message, transfer);
  }

  /**
   * Asks Python.
   * @param {string} kind
   * @param {any} [payload] plain data
   * @param {RequestOptions} [options]
   * @returns {Promise<any>} what the handler in the hub returned, or what it raised
   */
  async request(kind, payload, { timeout = DEFAULT_SECONDS, ...options } = {}) {
    if (timeout !== null && !(timeout >= 0)) {
      throw new RangeError(`timeout must be 0 seconds or more, or null, not ${timeout}`);
    }
    if (this.#pending >= this.maxPending) {
      const text = `${this.maxPending} requests on channel ${this.name} wait for their answers`;
      throw this.#line.error("QueueFull", `${text}, as its maxPending allows`);
    }
    this.#pending++;
    try {
      const message = { kind: "request", channel: this.name, name: kind, payload, time: now() };
      return await this.#line.ask(message, { ...options, timeout });
    } finally {
      this.#pending--;
    }
  }
}

/** The channels of one connection. */
export class Channels {
  #line;
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  /** @type {Map<number, AbortController>} */
  #answering = new Map();

  /** @param {Line} line */
  constructor(line) {
    this.#line = line;
  }

  /**
   * @param {string} name
   * @returns {Channel} the one of that name
   */
  get(name) {
    const channel = this.#channels.get(name) ?? new Channel(name, this.#line);
    this.#channels.set(name, channel);
    return channel;
  }

  /** The hub is gone: nobody wants the answers any more. */
  lost() {
    for (const controller of this.#answering.values()) controller.abort();
    this.#answering.clear();
  }

  /**
   * Acts on a message of the hub: "post", "request" or "withdraw".
   * @param {any} message
   */
  async heard({ kind, id = 0, channel, name, payload, time }) {
    this.#answering.get(id)?.abort();
    this.#answering.delete(id);
    if (kind === "withdraw") return;
    const controller = new AbortController();
    const { signal } = controller;
    if (id) this.#answering.set(id, controller);
    const isWanted = () => id !== 0 && this.#answering.get(id) === controller;
    const progress = (
      /** @type {number} */ done,
      /** @type {number | undefined} */ total = undefined,
      message = "",
    ) => {
      if (isWanted()) this.#line.post({ kind: "report", id, done, total, message });
    };
    try {
      const handler = this.#channels.get(channel)?.handlers.get(name);
      if (!handler) throw this.#line.error("NoHandler", "");
      const told = { channel, kind: name, payload, time, signal, progress };
      const value = await handler(id ? { ...told, id } : told);
      if (isWanted()) this.#line.post({ kind: "answer", id, payload: value });
    } catch (error) {
      if (!id || isWanted()) {
        const { name: type, message, stack } = Object(error);
        this.#line.post({
          kind: "refuse",
          id,
          channel,
          name,
          error: String(type ?? "Error"),
          message: String(message ?? error),
          stack: String(stack ?? ""),
        });
      }
    } finally {
      if (isWanted()) this.#answering.delete(id);
    }
  }
}
