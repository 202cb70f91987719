/**
 * Typed arrays and twins on their way between a page and its hub.
 *
 * Owns what becomes of them in a message, wherever they stand in it. Knows nothing of the messages.
 * What stands for a twin is a plain object, and a list beside the value says which objects are
 * such. A view of shared memory is posted as such, without its bytes: so a page copies a large
 * array into the arena and posts the view, and a view of the arena that it was given stands for
 * the array that Python knows. Memory that the page has made itself gets a name there, as each
 * message that it goes through makes another object of it; the names go beside the views.
 */

import { PAGE } from "./arena.mjs";
import { ARRAYS } from "./cells.mjs";

/** A page copies smaller ones into the message. */
const MIN_BYTES = 32_768;

const CODES = new Map(
  Object.entries(ARRAYS).map(([code, Type]) => [/** @type {Function} */ (Type), code]),
);

/**
 * Memory that a page has made, and its name there.
 * @typedef {[buffer: SharedArrayBuffer, name: number]} Named
 */

/** A view of shared memory, as Python is told of it. */
class Shared {
  isTwin = false;

  /**
   * @param {any} view a typed array
   * @param {string} code of its elements, as in Python's struct
   * @param {number} name of its memory in the page; 0: it is the arena
   */
  constructor(view, code, name) {
    this.offset = view.byteOffset;
    this.count = view.length;
    this.code = code;
    this.name = name;
    this.buffer = view.buffer;
  }

  get id() {
    return this.offset;
  }

  get [Symbol.toStringTag]() {
    return "Shared";
  }
}

/** In a hub, what stands for an object of Python of which the page has a twin. */
export class Twin {
  /** Whether there ever was one: nobody need look for them before. */
  static isUsed = false;
  isTwin = true;

  /**
   * @param {number} id by which Python knows the object
   * @param {string} kind of the twin, in `twins.mjs`
   * @param {any[]} state number of changes, and values; empty where memory is shared
   */
  constructor(id, kind, state) {
    this.id = id;
    this.kind = kind;
    this.state = state;
    Twin.isUsed = true;
  }

  get [Symbol.toStringTag]() {
    return "Twin";
  }
}

/**
 * Copies a structure as far as needed to replace the typed arrays and twins in it.
 * @param {any} value
 * @param {(view: any, code: string) => any} replaced what takes the place of a typed array
 * @param {(value: any) => any} twin what takes the place of another object; undefined for most
 * @param {Map<any, any>} [seen] containers that were met, and what became of them
 * @returns {any} the same value if nothing was replaced
 */
function withViews(value, replaced, twin, seen = new Map()) {
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const code = CODES.get(value.constructor);
  if (code) {
    const view = replaced(value, code);
    seen.set(value, view);
    return view;
  }
  const other = twin(value);
  if (other !== undefined) {
    seen.set(value, other);
    return other;
  }
  const isArray = Array.isArray(value);
  if (!isArray && Object.getPrototypeOf(value) !== Object.prototype) return value;
  seen.set(value, value); // a structure that contains itself is passed on as it is
  let copy = value;
  for (const key of Object.keys(value)) {
    const item = withViews(value[key], replaced, twin, seen);
    if (item === value[key]) continue;
    if (copy === value) copy = isArray ? value.slice() : { ...value };
    copy[key] = item;
  }
  seen.set(value, copy);
  return copy;
}

/**
 * What stands beside a value in a message, about what is in it.
 * @typedef {{memories?: Named[] | undefined, twins?: any[] | undefined}} Beside
 */

/**
 * @param {Map<SharedArrayBuffer, number>} memories
 * @param {any[]} twins
 * @returns {Beside}
 */
const beside = (memories, twins) => ({
  memories: memories.size > 0 ? [...memories] : undefined,
  twins: twins.length > 0 ? twins : undefined,
});

/** In a page: the names of the shared memory that it has made and given to its hub. */
export class Names {
  /** @type {WeakMap<SharedArrayBuffer, number>} */
  #names = new WeakMap();
  /** @type {Map<number, WeakRef<SharedArrayBuffer>>} */
  #buffers = new Map();
  #last = 0;
  #dropped = new FinalizationRegistry((/** @type {number} */ name) => {
    if (!this.#buffers.get(name)?.deref()) this.#buffers.delete(name);
  });

  /** @param {SharedArrayBuffer} buffer */
  nameOf(buffer) {
    return this.#names.get(buffer) ?? this.#note(buffer, ++this.#last);
  }

  /**
   * @param {number} name
   * @param {SharedArrayBuffer} buffer as it came back from the hub
   * @returns {SharedArrayBuffer} the one that was given, unless the page has dropped it
   */
  original(name, buffer) {
    const known = this.#buffers.get(name)?.deref();
    if (!known) this.#note(buffer, name);
    return known ?? buffer;
  }

  /**
   * @param {SharedArrayBuffer} buffer
   * @param {number} name
   */
  #note(buffer, name) {
    this.#names.set(buffer, name);
    this.#buffers.set(name, new WeakRef(buffer));
    this.#dropped.register(buffer, name);
    return name;
  }
}

/**
 * In a page: names the memory of shared typed arrays, copies other large ones into the arena, as far
 * as it has room, and puts what stands for twins in their place.
 * @param {any} value
 * @param {import("./arena.mjs").Arena | undefined} arena where memory is shared
 * @param {Names} names
 * @param {import("./twins.mjs").Twins} twins
 * @param {boolean} copies whether it copies
 * @returns {{value: any, beside: Beside, offsets: number[]}} what to post; `offsets` are to be freed
 *   if it is not
 */
export function lent(value, arena, names, twins, copies) {
  /** @type {number[]} */
  const offsets = [];
  /** @type {Map<SharedArrayBuffer, number>} */
  const memories = new Map();
  /** @type {any[]} */
  const found = [];
  const lend = (/** @type {any} */ view) => {
    if (!arena) return view;
    if (!(view.buffer instanceof ArrayBuffer)) {
      if (!arena.isSameAs(view.buffer)) memories.set(view.buffer, names.nameOf(view.buffer));
      return view;
    }
    if (!copies || view.byteLength < MIN_BYTES) return view;
    const offset = arena.allocate(view.byteLength, PAGE);
    if (offset === 0) return view;
    offsets.push(offset);
    const { buffer } = arena.bytes(offset, view.byteLength);
    const copy = new view.constructor(buffer, offset, view.length);
    copy.set(view);
    return copy;
  };
  const posted = withViews(value, lend, (other) => {
    const id = twins.idOf(other);
    if (id === undefined) return undefined;
    const twin = { id };
    found.push(twin);
    return twin;
  });
  return { value: posted, beside: beside(memories, found), offsets };
}

/**
 * In a page whose hub other tabs have too: memory cannot be shared with it, and what is sent all the
 * same would never arrive.
 * @param {any} value
 * @param {Set<any>} [seen]
 * @throws {TypeError} there is shared memory in it, or a WebAssembly module
 */
export function refuseShared(value, seen = new Set()) {
  if (typeof value !== "object" || value === null || seen.has(value)) return;
  seen.add(value);
  const held = ArrayBuffer.isView(value) ? value.buffer : value;
  const isShared = globalThis.SharedArrayBuffer && held instanceof SharedArrayBuffer;
  if (isShared || held instanceof WebAssembly.Module) {
    const kind = Object.prototype.toString.call(held).slice("[object ".length, -1);
    throw new TypeError(
      `a ${kind} cannot be sent to a hub that other tabs have too: send a copy of what is in it`,
    );
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return;
  const isCollection = value instanceof Map || value instanceof Set;
  const items = isCollection ? [...value.entries()] : Object.values(value);
  for (const item of items) refuseShared(item, seen);
}

/**
 * In a hub: finds the views of shared memory, and the twins.
 * @param {any} value
 * @param {Beside} beside
 * @param {import("./arena.mjs").Arena | undefined} arena where memory is shared
 * @throws {TypeError} a view is of memory that has no name
 */
export function received(value, { memories = [], twins = [] }, arena) {
  if (!arena && twins.length === 0) return value;
  const names = new Map(memories);
  const known = new Set(twins);
  const receive = (/** @type {any} */ view, /** @type {string} */ code) => {
    if (!arena || view.buffer instanceof ArrayBuffer) return view;
    if (arena.isSameAs(view.buffer)) return new Shared(view, code, 0);
    const name = names.get(view.buffer) ?? 0;
    if (!(Number.isSafeInteger(name) && name > 0)) {
      throw new TypeError("a view of shared memory came without a name");
    }
    return new Shared(view, code, name);
  };
  return withViews(value, receive, (other) =>
    known.has(other) ? new Twin(other.id, "", []) : undefined,
  );
}

/**
 * In a hub: names the memory that the page has made, and lists the twins, in what it is sent.
 * @param {any} value
 * @param {import("./memories.mjs").Memories | undefined} memories where memory is shared
 * @returns {Beside}
 */
export function named(value, memories) {
  if (!memories && !Twin.isUsed) return {};
  /** @type {Map<SharedArrayBuffer, number>} */
  const found = new Map();
  /** @type {any[]} */
  const twins = [];
  const name = (/** @type {any} */ view) => {
    const known = memories?.nameOf(view.buffer);
    if (known !== undefined) found.set(view.buffer, known);
    return view;
  };
  withViews(value, name, (other) => {
    if (!(other instanceof Twin)) return undefined;
    twins.push(other);
    return other;
  });
  return beside(found, twins);
}

/**
 * In a page: puts its own memory in the place of what came back from the hub, and makes twins.
 * @param {any} value
 * @param {Beside} beside
 * @param {Names} names
 * @param {import("./twins.mjs").Twins} made
 * @param {(view: any) => void} found gets each view of the arena
 */
export function returned(value, { memories = [], twins = [] }, names, made, found) {
  const known = new Map(memories);
  const stand = new Set(twins);
  const back = (/** @type {any} */ view) => {
    if (view.buffer instanceof ArrayBuffer) return view;
    const name = known.get(view.buffer);
    if (name === undefined) {
      found(view);
      return view;
    }
    const buffer = names.original(name, view.buffer);
    return new view.constructor(buffer, view.byteOffset, view.length);
  };
  return withViews(value, back, (other) => (stand.has(other) ? made.of(other) : undefined));
}
