/**
 * What the ends of a queue in shared memory have in common: its words, its ring, and who changes
 * which side.
 *
 * Owns where everything of a queue lies, and who has what when a thread ends. Knows nothing of how
 * an item gets there; that stands in `queues.mjs`.
 *
 * Words, those of each line on a cache line of their own:
 *    0 puts     state for which consumers wait, with the other words of `waiting.mjs`: twice the
 *               number of items ever put, modulo 2^32; the lowest bit is set once it is closed
 *   16 gets     the same of items taken, for which producers wait
 *   32 done     state for which joiners wait: number of items said to be done with, modulo 2^31
 *   36 capacity bytes of the ring, a multiple of 4
 *   37 maxsize  how many items there may be; 0 any number
 *   48 producer token of who changes this side, 0 nobody; 49 how many wait for that
 *   50, 51      where in the ring the next item is to begin: word 50 + puts modulo 2 is right, the
 *               other is written ahead of the change of puts
 *   52 peak     the most items there ever were; 53, 54 bytes of all items ever put
 *   55 losses   how many producers have ended while they changed this side
 *   64 consumer token of who changes that side; 65 how many wait for that
 *   66, 67      where the next item to be taken begins, in the same way, by gets
 *   68 losses   of consumers
 *   80 ring     each item: a word with its length and, as highest bit, BLOCK, then its bytes and up
 *               to 3 more. The ring goes on at its beginning anywhere but in a word
 *
 * An item is put by one change of puts, and taken by one of gets. Who ends before has done nothing,
 * and who inherits its side finds nothing to repair.
 *
 * An item of BLOCK is two words: where in the arena it lies, and which peer has put it. That block
 * begins with the queue's offset and the number of the item, so that nothing else is taken for it.
 * It is on its producer's account until it is put, then on that of QUEUE, which never ends, and
 * then on its consumer's, who frees it. It is put before it is handed over, by its producer or by
 * a consumer that comes first; it is handed to its consumer before that takes it. So wherever a
 * thread ends, it is on the account of somebody, and if it went with that one, consumers pass over
 * what is left of it in the ring.
 */

import { QUEUE } from "./arena.mjs";
import { Waiting } from "./waiting.mjs";

export const PUTS = 0;
export const GETS = 16;
export const FINISHED = 32;
export const CAPACITY = 36;
export const MAXSIZE = 37;
export const PRODUCER = 48;
export const HEADS = 50;
export const PEAK = 52;
export const BYTES = 53;
export const CONSUMER = 64;
export const TAILS = 66;
/** Behind the words of a side's owner. */
export const PUT_LOSSES = 55;
export const GET_LOSSES = 68;
/** Where the ring begins, in bytes. */
export const RING = 320;

export const BLOCK = 0x80000000;
export const CLOSED = 1;

const SPINS = 200;
/** Who owns a side needs microseconds, unless it is not scheduled or has ended. */
const PATIENCE_MS = 50;
/** The same for a thread that must not block. */
const SPIN_MS = 5;
/** A wait for an owner that has ended is not woken. */
const LOOK_EVERY_MS = 5;

/** @param {number} word puts or gets */
export const counted = (word) => word >>> 1;

/** @param {number} length */
export const padded = (length) => (length + 3) & ~3;

/** What producers and consumers of one queue have in common. */
export class End extends Waiting {
  /**
   * @param {import("./arena.mjs").Arena} arena of this thread
   * @param {number} offset of the queue
   * @param {import("./ring.mjs").Doorbell | undefined} bell of the hub
   * @param {() => Uint8Array} heap the heap's bytes now
   * @param {number} state the word for which this end waits
   */
  constructor(arena, offset, bell, heap, state) {
    super(arena, offset + 4 * state, bell);
    this.queue = offset;
    this.first = offset / 4;
    this.heap = heap;
    /** @type {Uint8Array | undefined} */
    this.ring = undefined;
    /** Address and length of the bytes that Python and this end pass items through. */
    this.box = 0;
    this.boxBytes = 0;
    /** Whether the box is for items with their words, or for the bytes of one. */
    this.many = false;
  }

  /**
   * @param {number} address a multiple of 4
   * @param {number} bytes
   */
  configure(address, bytes) {
    this.box = address;
    this.boxBytes = bytes;
  }

  /** @param {number} word of the queue */
  get(word) {
    return Atomics.load(this.words, this.first + word);
  }

  /**
   * @param {number} word of the queue
   * @param {number} value
   */
  set(word, value) {
    Atomics.store(this.words, this.first + word, value);
  }

  /** @returns {number} bytes of the ring */
  capacity() {
    return this.get(CAPACITY);
  }

  /** @returns {number} how many items there are */
  depth() {
    // Gets first: what is put meanwhile makes it too many, and never fewer than none.
    const gets = this.get(GETS);
    return (counted(this.get(PUTS)) - counted(gets)) & 0x7fffffff;
  }

  isClosed() {
    return (this.get(PUTS) & CLOSED) !== 0;
  }

  /**
   * Makes this thread the only one that changes a side.
   * @param {number} side PRODUCER or CONSUMER
   * @param {number} losses the word that counts owners which have ended
   * @returns {boolean} false: in all that time it could not be had
   */
  own(side, losses) {
    const { words, token, arena } = this;
    const at = this.first + side;
    let limit = 0;
    for (let i = 1; ; i++) {
      const owner = Atomics.compareExchange(words, at, 0, token);
      if (owner === 0) return true;
      if (i % SPINS !== 0) continue;
      if (!this.isAlive(owner)) {
        if (Atomics.compareExchange(words, at, owner, token) !== owner) continue;
        Atomics.add(words, this.first + losses, 1);
        return true;
      }
      const now = performance.now();
      limit ||= now + (arena.canBlock ? PATIENCE_MS : SPIN_MS);
      if (now > limit) return false;
      if (!arena.canBlock) continue;
      Atomics.add(words, at + 1, 1);
      Atomics.wait(words, at, owner, Math.min(limit - now, LOOK_EVERY_MS));
      Atomics.sub(words, at + 1, 1);
    }
  }

  /** @param {number} side that this thread owns */
  disown(side) {
    const { words } = this;
    const at = this.first + side;
    Atomics.store(words, at, 0);
    if (Atomics.load(words, at + 1) > 0) Atomics.notify(words, at, 1);
  }

  /** The bytes of the ring, whose length is known once the queue is initialized. */
  bytes() {
    if (!this.ring) {
      this.ring = this.arena.bytes(this.queue + RING, this.get(CAPACITY));
      // The first view may end before the ring, where another thread has grown the region.
      this.words = new Int32Array(this.ring.buffer);
    }
    return this.ring;
  }

  /**
   * @param {number} position in the ring
   * @returns {number} the word there, unsigned
   */
  word(position) {
    const { words, first } = this;
    return /** @type {number} */ (words[first + (RING + position) / 4]) >>> 0;
  }

  /**
   * @param {number} position in the ring
   * @param {number} value
   */
  setWord(position, value) {
    this.words[this.first + (RING + position) / 4] = value;
  }

  /**
   * @param {number} position in the ring
   * @param {Uint8Array} target
   * @param {number} at
   * @param {number} length
   */
  copyOut(position, target, at, length) {
    const ring = this.bytes();
    const rest = Math.min(length, ring.length - position);
    copy(ring, position, target, at, rest);
    if (rest < length) copy(ring, 0, target, at + rest, length - rest);
  }

  /**
   * @param {number} position in the ring
   * @param {Uint8Array} source
   * @param {number} at
   * @param {number} length
   */
  copyIn(position, source, at, length) {
    const ring = this.bytes();
    const rest = Math.min(length, ring.length - position);
    copy(source, at, ring, position, rest);
    if (rest < length) copy(source, at + rest, ring, 0, length - rest);
  }

  /**
   * @param {number} offset of a block
   * @param {number} from its owner, perhaps
   * @param {number} to who shall own it
   * @returns {boolean} whether that was its owner
   */
  hand(offset, from, to) {
    try {
      this.arena.hand(offset, from, to);
      return true;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  }

  /**
   * @param {number} offset of a block, perhaps
   * @param {number} owner peer that has put it
   * @param {number} number of the item
   * @returns {boolean} whether it is that item's, and now this thread's
   */
  claim(offset, owner, number) {
    const { arena, queue } = this;
    arena.bytes(offset, 16);
    const at = offset / 4;
    if (Atomics.load(arena.words, at) !== queue) return false;
    if (Atomics.load(arena.words, at + 1) !== number) return false;
    // Its producer may hand it over meanwhile, once.
    return [QUEUE, owner, QUEUE].some((from) => this.hand(offset, from, arena.self));
  }

  /** Ends it for all: nothing can be put any more. */
  close() {
    const { words, first, arena, queue, bell } = this;
    Atomics.or(words, first + PUTS, CLOSED);
    Atomics.or(words, first + GETS, CLOSED);
    for (const state of [PUTS, GETS]) {
      new Waiting(arena, queue + 4 * state, bell).wake(Number.POSITIVE_INFINITY);
    }
  }
}

/**
 * @param {Uint8Array} source
 * @param {number} from
 * @param {Uint8Array} target
 * @param {number} to
 * @param {number} length
 */
function copy(source, from, target, to, length) {
  if (length > 64) {
    target.set(source.subarray(from, from + length), to);
    return;
  }
  for (let i = 0; i < length; i++) target[to + i] = /** @type {number} */ (source[from + i]);
}
