/**
 * Forks: what an interpreter is that has run a pool's set-up, so that workers can start from it.
 *
 * Owns the making of one, and what speaks against it: what JavaScript holds for an interpreter is in
 * no memory that could be taken. How a worker is started from it stands in boot.mjs, what Python does
 * on the way in `pyworkers/_forking.py`.
 */

import { asBulk, bytesOf } from "./assets.mjs";
import { boot, FORK_MODULE, functionCount, Stopwatch, takeMemory } from "./boot.mjs";
import { listFiles, mountPoints, writtenSince } from "./files.mjs";

/** @typedef {import("./assets.mjs").Bulk} Bulk */

/**
 * A fork; can be posted to a worker.
 * @typedef {object} Fork
 * @property {Bulk} memory a snapshot
 * @property {import("./files.mjs").Written} files
 * @property {string} folder the current one
 * @property {Record<string, string>} packages that are installed, with where they came from
 * @property {number} began when the clock of its thread was 0, in milliseconds of the epoch
 */

/**
 * @param {Bulk} bulk
 * @returns {number}
 */
const sizeOf = (bulk) => (bulk instanceof Uint8Array ? bulk.length : bulk.size);

/** The timers of this thread that have not fired, of all that were set since. */
class Timers {
  #waiting = new Set();

  constructor() {
    const { setTimeout, setInterval, clearTimeout, clearInterval } = globalThis;
    const set = (/** @type {any} */ timer) => {
      this.#waiting.add(timer);
      return timer;
    };
    const clearBy = (/** @type {any} */ clear) => (/** @type {any} */ timer) => {
      this.#waiting.delete(timer);
      clear(timer);
    };
    const own = {
      setTimeout: (/** @type {any} */ callback, /** @type {any[]} */ ...rest) => {
        const fire = (/** @type {any[]} */ ...args) => {
          this.#waiting.delete(timer);
          callback(...args);
        };
        const timer = set(setTimeout(fire, ...rest));
        return timer;
      },
      setInterval: (/** @type {[any]} */ ...args) => set(setInterval(...args)),
      clearTimeout: clearBy(clearTimeout),
      clearInterval: clearBy(clearInterval),
    };
    this.kept = Object.keys(own).map(
      (name) => /** @type {const} */ ([name, Object.getOwnPropertyDescriptor(globalThis, name)]),
    );
    Object.assign(globalThis, own);
  }

  /** @returns {number} how many there are; those to come are not noted */
  close() {
    for (const [name, kept] of this.kept) {
      // In browsers they are the prototype's.
      if (kept) Object.defineProperty(globalThis, name, kept);
      else Reflect.deleteProperty(globalThis, name);
    }
    return this.#waiting.size;
  }
}

/** What JavaScript holds for an interpreter, before a set-up and after it. */
class Holdings {
  /** @param {any} pyodide */
  constructor(pyodide) {
    const { _module: module, FS } = pyodide;
    this.globals = new Set(Object.getOwnPropertyNames(globalThis));
    this.libraries = new Set(Object.keys(module.LDSO.loadedLibsByName));
    this.mounts = new Set(mountPoints(FS));
    this.streams = new Set(FS.streams);
    this.functions = functionCount(module);
    this.pyodide = pyodide;
  }

  /** @returns {string | undefined} why its memory is worth nothing without what it now holds */
  added() {
    const { _module: module, FS } = this.pyodide;
    const library = Object.keys(module.LDSO.loadedLibsByName).find(
      (name) => !this.libraries.has(name),
    );
    if (library) return `the set-up loaded the shared library ${library}`;
    if (functionCount(module) !== this.functions) {
      return "the set-up made a function that C code can call, as callbacks of ctypes are";
    }
    const mount = mountPoints(FS).find((path) => !this.mounts.has(path));
    if (mount) return `the set-up mounted a file system at ${mount}`;
    const stream = FS.streams.find((/** @type {any} */ each) => each && !this.streams.has(each));
    if (stream) return `the set-up left ${stream.path ?? "a file"} open`;
    const name = Object.getOwnPropertyNames(globalThis).find((each) => !this.globals.has(each));
    if (name) return `the set-up made the global variable ${name} of JavaScript`;
    return undefined;
  }
}

/**
 * Starts an interpreter, sets it up and takes what it then is.
 * @param {import("./assets.mjs").Assets} assets
 * @param {Bulk} archive
 * @param {import("./boot.mjs").Streams} streams
 * @param {number} peer number of this thread in its hub
 * @param {Uint8Array} setup what Python was told of it
 * @returns {Promise<{fork: Fork, bytes: number}>} with the memory that it takes
 * @throws {Error} saying why there cannot be one
 */
export async function makeFork(assets, archive, streams, peer, setup) {
  const taking = { fresh: new Set() };
  const pyodide = await boot(assets, archive, streams, new Stopwatch(), { taking });
  const { FS } = pyodide;
  const forking = pyodide.pyimport(FORK_MODULE);
  const holdings = new Holdings(pyodide);
  const before = listFiles(FS);
  const timers = new Timers();
  const failed = await forking.set_up(peer, setup);
  // What was to be called at once is called.
  await new Promise((resolve) => setTimeout(resolve));
  const left = timers.close();
  const reason = failed || forking.rest(left) || holdings.added();
  if (reason) throw new Error(reason);
  forking.destroy();
  const files = writtenSince(FS, before);
  const folder = FS.cwd();
  const packages = { ...pyodide.loadedPackages };
  const memory = asBulk(taken(pyodide, taking, await bytesOf(archive)));
  const fork = { memory, files, folder, packages, began: performance.timeOrigin };
  return { fork, bytes: sizeOf(memory) + sizeOf(files.contents) };
}

/**
 * @param {any} pyodide
 * @param {import("./boot.mjs").Taking} taking
 * @param {Uint8Array} archive
 */
function taken(pyodide, taking, archive) {
  try {
    return takeMemory(pyodide, taking, archive);
  } catch (error) {
    const index = Number(/ at index (\d+)$/.exec(/** @type {Error} */ (error).message)?.[1]);
    if (Number.isNaN(index)) throw error;
    const held = pyodide._module.__hiwire_get(index);
    const name = held?.name ? ` ${held.name}` : "";
    const kind = Object.prototype.toString.call(held).slice("[object ".length, -1);
    throw new Error(`the set-up holds an object of JavaScript: ${kind}${name}`);
  }
}
