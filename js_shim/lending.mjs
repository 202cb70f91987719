/**
 * Typed arrays on their way between a page and its hub, by way of the arena.
 *
 * Owns what becomes of typed arrays in a message, wherever they stand in it. Knows nothing of the
 * messages. A view of shared memory is posted as such, without its bytes: so a page copies a large
 * array into the arena and posts the view, and a view of the arena that it was given stands for
 * the array that Python knows.
 */

import { PAGE } from "./arena.mjs";
import { ARRAYS } from "./cells.mjs";

/** A page copies smaller ones into the message. */
const MIN_BYTES = 32_768;

const CODES = new Map(
  Object.entries(ARRAYS).map(([code, Type]) => [/** @type {Function} */ (Type), code]),
);

/** A view of the arena, as Python is told of it. */
class Shared {
  /**
   * @param {any} view a typed array
   * @param {string} code of its elements, as in Python's struct
   */
  constructor(view, code) {
    this.offset = view.byteOffset;
    this.count = view.length;
    this.code = code;
  }

  get [Symbol.toStringTag]() {
    return "Shared";
  }
}

/**
 * Copies a structure as far as needed to replace the typed arrays in it.
 * @param {any} value
 * @param {(view: any, code: string) => any} replaced what takes the place of a typed array
 * @param {Map<any, any>} [seen] containers that were met, and what became of them
 * @returns {any} the same value if nothing was replaced
 */
function withViews(value, replaced, seen = new Map()) {
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const code = CODES.get(value.constructor);
  if (code) {
    const view = replaced(value, code);
    seen.set(value, view);
    return view;
  }
  const isArray = Array.isArray(value);
  if (!isArray && Object.getPrototypeOf(value) !== Object.prototype) return value;
  seen.set(value, value); // a structure that contains itself is passed on as it is
  let copy = value;
  for (const key of Object.keys(value)) {
    const item = withViews(value[key], replaced, seen);
    if (item === value[key]) continue;
    if (copy === value) copy = isArray ? value.slice() : { ...value };
    copy[key] = item;
  }
  seen.set(value, copy);
  return copy;
}

/**
 * In a page: copies large typed arrays into the arena, as far as it has room.
 * @param {any} value
 * @param {import("./arena.mjs").Arena} arena
 * @returns {{value: any, offsets: number[]}} what to post; `offsets` are to be freed if it is not
 */
export function lent(value, arena) {
  /** @type {number[]} */
  const offsets = [];
  const posted = withViews(value, (view) => {
    if (view.byteLength < MIN_BYTES || !(view.buffer instanceof ArrayBuffer)) return view;
    const offset = arena.allocate(view.byteLength, PAGE);
    if (offset === 0) return view;
    offsets.push(offset);
    const { buffer } = arena.bytes(offset, view.byteLength);
    const copy = new view.constructor(buffer, offset, view.length);
    copy.set(view);
    return copy;
  });
  return { value: posted, offsets };
}

/**
 * In a hub: finds the views of the arena; other shared memory becomes a copy.
 * @param {any} value
 * @param {import("./arena.mjs").Arena} arena
 */
export function received(value, arena) {
  return withViews(value, (view, code) => {
    if (view.buffer instanceof ArrayBuffer) return view;
    return arena.isSameAs(view.buffer) ? new Shared(view, code) : view.slice();
  });
}

/**
 * In a page: finds the views of the arena in what a hub has sent.
 * @param {any} value
 * @param {(view: any) => void} found
 */
export function eachShared(value, found) {
  withViews(value, (view) => {
    if (!(view.buffer instanceof ArrayBuffer)) found(view);
    return view;
  });
}
