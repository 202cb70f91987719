/**
 * Shared memory that is not the arena's: what a page has made itself and given to Python.
 *
 * Owns which memory a number stands for in this interpreter. Knows nothing of who uses it, nor how
 * it came here. Numbers are odd, as no offset in the arena is, and none is used twice.
 */

/** One SharedArrayBuffer, read as the arena is. */
class Memory {
  /** @param {SharedArrayBuffer} buffer */
  constructor(buffer) {
    this.buffer = buffer;
  }

  /**
   * @param {number} offset
   * @param {number} length
   * @returns {Uint8Array} a view
   */
  bytes(offset, length) {
    return new Uint8Array(this.buffer, offset, length);
  }
}

/** Those that one interpreter knows. */
export class Memories {
  /** @type {Map<number, Memory>} */
  #known = new Map();
  /** @type {WeakMap<SharedArrayBuffer, number>} */
  #names = new WeakMap();
  #last = -1;

  /**
   * In a hub: takes in what a page has given.
   * @param {SharedArrayBuffer} buffer
   * @param {number} name by which the page knows it
   * @returns {number} its number
   */
  add(buffer, name) {
    this.#last += 2;
    this.#names.set(buffer, name);
    this.set(this.#last, buffer);
    return this.#last;
  }

  /**
   * In a worker: takes in what its hub has lent.
   * @param {number} id
   * @param {SharedArrayBuffer} buffer
   */
  set(id, buffer) {
    this.#known.set(id, new Memory(buffer));
  }

  /** @param {number} id */
  has(id) {
    return this.#known.has(id);
  }

  /**
   * @param {number} id
   * @throws {RangeError} there is none of that number
   */
  get(id) {
    const memory = this.#known.get(id);
    if (!memory) throw new RangeError(`shared memory ${id} is not known here`);
    return memory;
  }

  /** @param {number} id that is not used here any more */
  delete(id) {
    this.#known.delete(id);
  }

  /**
   * @param {SharedArrayBuffer} buffer
   * @returns {number | undefined} by which the page knows it; undefined if it is none of a page's
   */
  nameOf(buffer) {
    return this.#names.get(buffer);
  }
}
