/**
 * JavaScript's way in: a conversation with a hub.
 *
 * Owns what is said. Knows nothing of where the hub is, beyond the line that leads to it. The promises
 * of what was asked stand in `asked.mjs`.
 */

import { Arena, PAGE } from "./arena.mjs";
import { Asked, PyworkersError, READY } from "./asked.mjs";
import { load } from "./assets.mjs";
import { Channel, Channels } from "./channels.mjs";
import { lent, Names, refuseShared, returned } from "./lending.mjs";
import { checked, EVENTS } from "./protocol.mjs";
import { Doorbell } from "./ring.mjs";
import { Twins } from "./twins.mjs";

/**
 * @typedef {object} ConnectOptions
 * @property {number} [size] workers of the pool behind `run`; by default as many as there are
 *   cores, 8 at the most
 * @property {string[]} [packages] names or wheel URLs that each worker installs
 * @property {string[]} [modules] URLs of Python files, which hub and workers can then import
 * @property {"shared" | "transfer" | "inline"} [mode] of all pools that name none; by default the
 *   best that the page allows
 * @property {boolean} [warmUp] wait until all workers of the pool behind `run` are ready
 * @property {(output: {stream: string, text: string, id?: number}) => void} [onOutput] gets what
 *   Python prints; by default the console does
 * @property {(connection: Connection) => void} [onRestart] called when another hub takes the place of
 *   one that other tabs had too, before anything else is sent to it
 */

/**
 * @typedef {object} RunOptions
 * @property {AbortSignal} [signal] ends the task, wherever it is
 * @property {(progress: {done: number, total?: number, message: string}) => void} [onProgress]
 * @property {number | "low" | "normal" | "high" | "critical"} [priority] 0 (last) to 10 (first), or
 *   the names of 2, 5, 8 and 10; 5 by default
 * @property {number} [timeout] seconds from now until the task fails with TimeoutError
 * @property {Transferable[]} [transfer] buffers in the arguments that need not be copied, and are
 *   unusable here afterwards
 */

/**
 * Something that happened in the pool behind `run`.
 * @typedef {object} PoolEvent
 * @property {typeof EVENTS[number]} kind
 * @property {number} time when the hub learned of it, in seconds since the epoch
 * @property {number} [worker] number of the worker; absent if no worker had the task
 * @property {number} [task] number of the task; absent in an event of a worker
 * @property {string} [function] name of its function
 * @property {"done" | "failed" | "cancelled" | "timed_out" | "lost"} [outcome] of task_done
 * @property {number} [seconds] of task_done and task_retried: how long it ran, if it came to its end
 * @property {{done: number, total?: number, message: string}} [progress] of task_progress
 * @property {string} [reason] of worker_lost: what ended it; of task_retried: what it raised, or what
 *   ended its worker
 * @property {number} [attempt] of task_retried: 1 if it is run again for the first time
 * @property {number} [delay] of task_retried: seconds that it waits before
 */

/** @param {{stream: string, text: string}} output */
function toConsole({ stream, text }) {
  console[stream === "stderr" ? "error" : "log"](text.replace(/\n$/, ""));
}

/**
 * @param {string} url
 * @returns {Promise<[string, string]>} name and source of a module
 */
async function fetchModule(url) {
  const name = /([^/]+)\.py(?:[?#].*)?$/.exec(url)?.[1];
  if (!name) throw new TypeError(`modules: ${url} is not the URL of a .py file`);
  return [name, await (await load(url)).text()];
}

/** What a hub may say. */
const FROM_HUB = Object.freeze([
  "assets",
  "ready",
  "result",
  "error",
  "progress",
  "output",
  "event",
  "post",
  "request",
  "withdraw",
]);

/** What of it is said on channels. */
const CHANNELLED = Object.freeze(["post", "request", "withdraw"]);

/** A running hub. */
export class Connection {
  #asked = new Asked();
  #channels = new Channels({
    post: (message, transfer = []) => {
      if (!this.#over) this.#post(message, "payload", transfer);
    },
    ask: (message, options) => this.#request(message, options),
    error: (name, message) => new PyworkersError(name, message),
  });
  /** @type {Map<string, Set<(event: PoolEvent) => void>>} */
  #listeners = new Map();
  /** @type {PyworkersError | undefined} */
  #over;
  /** @type {Arena | undefined} */
  #arena;
  #withdraw = (/** @type {number} */ id) => this.port.postMessage({ kind: "cancel", id });
  #names = new Names();
  /** Tells the hub of views of the arena that this page has dropped. */
  #given = new FinalizationRegistry((/** @type {number} */ id) => {
    if (!this.#over) this.port.postMessage({ kind: "drop", id });
  });
  /** @type {(error: PyworkersError) => void} */
  #close = () => {};
  #twins;

  /**
   * @param {import("./hub_thread.mjs").Line} line
   * @param {ConnectOptions} options
   */
  constructor(line, { onOutput = toConsole, onRestart = () => {} }) {
    this.onOutput = onOutput;
    this.onRestart = onRestart;
    /** How the hub's workers are reached, and why so; known once connected. */
    this.mode = "";
    this.reason = "";
    /** Whether pages of other tabs have the same hub. */
    this.tabs = line.isCommon;
    this.line = line;
    line.onended = (reason, name) => this.#end(reason, name);
    line.onrenewed = () => this.#renew();
    /**
     * The error that says why, once the connection is over.
     * @type {Promise<PyworkersError>}
     */
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
    this.port = line.port;
    this.#twins = this.#listen();
  }

  /**
   * Hears the hub, as long as it is the one behind the line.
   * @returns {Twins} of what is there
   */
  #listen() {
    const { port } = this.line;
    this.port = port;
    const isThere = () => port === this.port && !this.#over;
    port.onmessage = ({ data }) => {
      if (isThere()) this.#heard(data);
    };
    const channel = new Channel("pyworkers.twins", {
      post: () => {},
      ask: async (message, options) => {
        if (isThere()) return this.#request(message, options);
        throw this.#over ?? lost();
      },
      error: (name, message) => new PyworkersError(name, message),
    });
    return new Twins(channel, (id) => {
      if (isThere()) port.postMessage({ kind: "drop", id });
    });
  }

  /** Begins anew with another hub, which knows nothing of what the last one had. */
  #renew() {
    const error = lost();
    const asked = this.#asked.takeAll();
    this.#twins.close(error);
    this.#twins = this.#listen();
    this.#channels.lost();
    for (const [event, { size }] of this.#listeners) {
      if (size > 0) this.port.postMessage({ kind: "subscribe", event });
    }
    for (const { reject } of asked) reject(error);
    if (this.#asked.isAsked(READY)) return; // which it will be when there is another hub, too
    try {
      this.onRestart(this);
    } catch (error) {
      console.error(error); // of the listener
    }
  }

  /**
   * Waits until the hub is ready; one that is this page's own is told how first.
   * @param {ConnectOptions} options
   */
  async configure({ size, packages = [], modules = [], mode }) {
    if (!this.line.isCommon) {
      const sources = Object.fromEntries(await Promise.all(modules.map(fetchModule)));
      this.port.postMessage({ kind: "configure", size, packages, modules: sources, mode });
    }
    const { arena, bell } = await this.#asked.promise(READY);
    if (!arena) return;
    this.#arena = new Arena(arena, PAGE, false);
    this.#twins.share(this.#arena, new Doorbell(bell));
  }

  /**
   * Calls a Python function in a worker.
   * @param {string} target "module:function", importable in a worker; "function" or
   *   "__main__:function" for one that was defined by `exec`
   * @param {unknown[]} [args] plain data; typed arrays arrive as memoryviews, those over shared
   *   memory as `SharedArray`
   * @param {RunOptions} [options]
   * @returns {Promise<any>} plain data; buffers as typed arrays
   */
  run(target, args = [], { priority, timeout, transfer = [], ...options } = {}) {
    return this.#asked.ask(options, this.#withdraw, (id) => {
      this.#post({ kind: "run", id, target, args, priority, timeout }, "args", transfer);
      return "";
    });
  }

  /**
   * @param {any} message on a channel
   * @param {import("./channels.mjs").RequestOptions} options
   */
  #request(message, options) {
    return this.#asked.ask(options, this.#withdraw, (id) => {
      this.#post({ ...message, id }, "payload", options.transfer ?? []);
      return `the hub did not answer ${message.name} on channel ${message.channel}`;
    });
  }

  /**
   * Posts a message in which typed arrays may be.
   * @param {any} message
   * @param {"args" | "payload"} field in which they are; those of `args` are for workers, and large
   *   ones go by way of shared memory
   * @param {Transferable[]} transfer
   */
  #post(message, field, transfer) {
    const arena = this.#arena;
    if (this.line.isCommon) refuseShared(message[field]);
    if (!(field in message) || !(arena || Twins.isUsed)) {
      this.port.postMessage(message, transfer);
      return;
    }
    const { value, beside, offsets } = lent(
      message[field],
      arena,
      this.#names,
      this.#twins,
      field === "args",
    );
    try {
      this.port.postMessage({ ...message, [field]: value, ...beside }, transfer);
    } catch (error) {
      for (const offset of offsets) arena?.free(offset);
      throw error;
    }
  }

  /**
   * Makes an array in shared memory, zero at first: Python's `SharedArray`. It is freed when this
   * page, and Python, have dropped it.
   * @param {number | number[]} shape length, or lengths of all dimensions
   * @param {string} [dtype] "int8" to "int64", "uint8" to "uint64", "float32" or "float64"
   * @returns {Promise<any>} a typed array, row after row. Pass it to `run`, and the task gets the
   *   `SharedArray`: what either writes, the other sees
   */
  sharedArray(shape, dtype = "float64") {
    const given = JSON.stringify([shape, dtype]);
    return this.exec(`__import__("pyworkers").SharedArray(*${given})`);
  }

  /**
   * Makes a progress that Python and this page share: Python's `SharedProgress`.
   * @param {number} [total] how much there is to do; absent where that is not known
   * @returns {Promise<import("./twins.mjs").SharedProgress>} pass it to `run`, and look at it here
   */
  sharedProgress(total) {
    return this.#shared("SharedProgress", total ?? null);
  }

  /**
   * Makes what asks all to stop who were given it: Python's `SharedCancellation`.
   * @returns {Promise<import("./twins.mjs").SharedCancellation>}
   */
  sharedCancellation() {
    return this.#shared("SharedCancellation");
  }

  /**
   * Makes an integer of 64 bits to which all can add: Python's `SharedCounter`.
   * @param {number | bigint} [value] at first
   * @returns {Promise<import("./twins.mjs").SharedCounter>}
   */
  sharedCounter(value = 0) {
    return this.#shared("SharedCounter", BigInt(value));
  }

  /**
   * Makes something that is true or not, for all: Python's `SharedFlag`.
   * @returns {Promise<import("./twins.mjs").SharedFlag>}
   */
  sharedFlag() {
    return this.#shared("SharedFlag");
  }

  /**
   * @param {string} kind
   * @param {any[]} args
   * @returns {Promise<any>}
   */
  #shared(kind, ...args) {
    const given = args.map((value) => (value === null ? "None" : String(value))).join();
    return this.exec(`__import__("pyworkers.sync").sync.${kind}(${given})`);
  }

  /**
   * Starts all workers of the pool behind `run`, instead of each when there is work for it.
   * @returns {Promise<void>} when all are ready
   */
  async warmUp() {
    const id = this.#asked.newId();
    const result = this.#asked.promise(id);
    this.port.postMessage({ kind: "warm", id });
    await result;
  }

  /**
   * Returns this side's end of a named channel to Python in the hub, whose end is
   * `page.channel(name)` of `from pyworkers import page`.
   * @param {string} name
   */
  channel(name) {
    return this.#channels.get(name);
  }

  /**
   * Has a function called with each event of a kind in the pool behind `run`.
   * @param {typeof EVENTS[number]} event
   * @param {(event: PoolEvent) => void} listener
   * @returns {() => void} what ends it
   * @throws {TypeError} there is no such event
   */
  on(event, listener) {
    if (!EVENTS.includes(event)) throw new TypeError(`event must be one of ${EVENTS.join(", ")}`);
    if (this.#over) throw this.#over;
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners);
    const own = (/** @type {PoolEvent} */ told) => listener(told);
    if (listeners.size === 0) this.port.postMessage({ kind: "subscribe", event });
    listeners.add(own);
    return () => {
      if (!listeners.delete(own) || listeners.size > 0 || this.#over) return;
      this.port.postMessage({ kind: "unsubscribe", event });
    };
  }

  /** @param {PoolEvent} event */
  #happened(event) {
    for (const listener of this.#listeners.get(event.kind) ?? []) {
      try {
        listener(event);
      } catch (error) {
        console.error(error); // of one listener, and none of the others' business
      }
    }
  }

  /**
   * Runs Python source in the hub, with top-level await.
   * @param {string} source
   * @param {{filename?: string, argv?: string[], onId?: (id: number) => void}} [options] the file
   *   name stands in tracebacks; `onId` is told the id that its output will bear
   * @returns {Promise<any>} the value of the last expression, where it is plain data
   */
  async exec(source, { filename = "<exec>", argv, onId } = {}) {
    const id = this.#asked.newId();
    onId?.(id);
    const result = this.#asked.promise(id);
    try {
      this.port.postMessage({ kind: "exec", id, source, filename, argv });
      return await result;
    } finally {
      this.#asked.take(id);
    }
  }

  /**
   * Gives the page of a tab its own conversation with this hub.
   * @param {MessagePort} port
   * @param {string} lock held as long as the page takes part
   */
  admit(port, lock) {
    if (!this.#over) this.port.postMessage({ kind: "admit", port, lock }, [port]);
  }

  /** Ends the hub and its workers, unless other tabs have it too; what is pending is rejected. */
  close() {
    this.#end("the connection was closed");
  }

  /** @param {any} data */
  #heard(data) {
    const message = checked(data, FROM_HUB);
    if (message.kind === "output") this.onOutput(message);
    else if (message.kind === "progress") this.#asked.progress(message);
    else if (CHANNELLED.includes(message.kind)) {
      const payload = this.#returned(message.payload, message);
      this.#channels.heard({ ...message, payload });
    } else if (message.kind === "event") this.#happened(message.event);
    else if (message.kind === "assets") this.line.loaded(message.assets);
    else if (message.kind === "ready") {
      this.mode = message.mode;
      this.reason = message.reason;
      this.#asked.take(READY)?.resolve(message);
    } else if (message.kind === "result") {
      const { id, value } = message;
      this.#asked.take(id)?.resolve(this.#returned(value, message));
    } else {
      const { id, name, message: text, pythonTraceback } = message;
      const error = new PyworkersError(name, text, pythonTraceback);
      const pending = this.#asked.take(id);
      if (pending) pending.reject(error);
      else if (id === 0) console.error(error); // of a message that has no answer
    }
  }

  /**
   * @param {any} value that Python sent
   * @param {import("./lending.mjs").Beside} beside
   */
  #returned(value, beside) {
    if (!this.#arena && !beside.twins) return value;
    const given = (/** @type {any} */ view) => this.#given.register(view, view.byteOffset);
    return returned(value, beside, this.#names, this.#twins, given);
  }

  /**
   * @param {string} reason
   * @param {string} [name] of the error, for who waits for the start
   */
  #end(reason, name = "ConnectionClosed") {
    if (this.#over) return;
    const over = new PyworkersError("ConnectionClosed", reason);
    this.#over = over;
    this.#twins.close(over);
    this.line.close();
    this.#asked.take(READY)?.reject(new PyworkersError(name, reason));
    for (const { reject } of this.#asked.close(over)) reject(over);
    this.#close(over);
  }
}

const lost = () =>
  new PyworkersError(
    "HubLost",
    "the tab that had the hub is gone: another one starts, without what was defined there",
  );

/**
 * Reads where a built site keeps its parts.
 * @param {any} config content of pyworkers.json
 * @param {string} base its URL
 * @returns {import("./assets.mjs").Site}
 */
export function siteFrom({ indexURL, lockURL, archiveURL, snapshotURL }, base) {
  return {
    indexURL: new URL(indexURL, base).href,
    packageBaseURL: new URL(".", new URL(lockURL, base)).href,
    archiveURL: new URL(archiveURL, base).href,
    ...(snapshotURL ? { snapshotURL: new URL(snapshotURL, base).href } : {}),
  };
}

/**
 * Connects with a hub and waits until it is ready.
 * @param {import("./hub_thread.mjs").Line} line
 * @param {ConnectOptions} options
 */
export async function open(line, options) {
  const connection = new Connection(line, options);
  try {
    await connection.configure(options);
    if (options.warmUp) await connection.warmUp();
  } catch (error) {
    connection.close();
    throw error;
  }
  return connection;
}
