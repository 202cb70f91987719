/**
 * Numbers in shared memory: elements of one type, read and written one at a time.
 *
 * Owns the choice of the typed array. Knows nothing of shapes, nor of who else uses the numbers.
 */

/** Typed arrays by the code of their elements, as in Python's struct. */
export const ARRAYS = {
  b: Int8Array,
  B: Uint8Array,
  h: Int16Array,
  H: Uint16Array,
  i: Int32Array,
  I: Uint32Array,
  q: BigInt64Array,
  Q: BigUint64Array,
  f: Float32Array,
  d: Float64Array,
};

/** Elements at an offset of shared memory. Indices and values are checked by the caller. */
export class Cells {
  /**
   * @param {{bytes: (offset: number, length: number) => Uint8Array}} memory the arena, or another
   * @param {number} offset
   * @param {number} length in bytes
   * @param {keyof typeof ARRAYS} code as in Python's struct
   */
  constructor(memory, offset, length, code) {
    const { buffer } = memory.bytes(offset, length);
    const Type = /** @type {any} */ (ARRAYS[code]);
    const count = length / Type.BYTES_PER_ELEMENT;
    /** @type {any} what a page sees of them */
    this.items = new Type(buffer, offset, count);
    this.wide = code === "q" || code === "Q";
  }

  /**
   * @param {number | bigint} value
   * @returns {any}
   */
  #native(value) {
    return this.wide ? BigInt(value) : value;
  }

  /** @param {number} index */
  get(index) {
    return this.items[index];
  }

  /**
   * @param {number} index
   * @param {number | bigint} value
   */
  set(index, value) {
    this.items[index] = this.#native(value);
  }

  /** @param {number} index */
  load(index) {
    return Atomics.load(this.items, index);
  }

  /**
   * @param {number} index
   * @param {number | bigint} value
   */
  store(index, value) {
    Atomics.store(this.items, index, this.#native(value));
  }

  /**
   * @param {number} index
   * @param {number | bigint} value
   * @returns {number | bigint} what was there before
   */
  add(index, value) {
    return Atomics.add(this.items, index, this.#native(value));
  }

  /**
   * @param {number} index
   * @param {number | bigint} expected
   * @param {number | bigint} value
   * @returns {number | bigint} what was there before; it was replaced if that was expected
   */
  compareExchange(index, expected, value) {
    const { items } = this;
    return Atomics.compareExchange(items, index, this.#native(expected), this.#native(value));
  }
}
