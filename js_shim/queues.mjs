/**
 * Queues in shared memory: a ring of bytes between any number of producers and consumers.
 *
 * Owns the words of a queue, its ring, and who has what when a thread ends. Knows an item as bytes,
 * or as a block of the arena; knows nothing of Python, nor of how a thread waits.
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
import { DONE, NOT_YET, Waiting } from "./waiting.mjs";

const PUTS = 0;
const GETS = 16;
const FINISHED = 32;
const CAPACITY = 36;
const MAXSIZE = 37;
const PRODUCER = 48;
const HEADS = 50;
const PEAK = 52;
const BYTES = 53;
const CONSUMER = 64;
const TAILS = 66;
/** Behind the words of a side's owner. */
const PUT_LOSSES = 55;
const GET_LOSSES = 68;
/** Where the ring begins, in bytes. */
export const RING = 320;

/** For who looks at a queue from outside. */
export const QUEUE_WORDS = Object.freeze({
  PUTS,
  GETS,
  FINISHED,
  PRODUCER,
  CONSUMER,
  TAILS,
});

const BLOCK = 0x80000000;
const CLOSED = 1;

/** There will be nothing more: a try came to its end, though nothing was put or taken. */
export const ENDED = -1;
/** What was taken is a block, whose offset is the word in the inbox. */
export const TOOK_BLOCK = -2;

const SPINS = 200;
/** Who owns a side needs microseconds, unless it is not scheduled or has ended. */
const PATIENCE_MS = 50;
/** The same for a thread that must not block. */
const SPIN_MS = 5;
/** A wait for an owner that has ended is not woken. */
const LOOK_EVERY_MS = 5;

/** @param {number} word puts or gets */
const counted = (word) => word >>> 1;

/** @param {number} length */
const padded = (length) => (length + 3) & ~3;

/** What producers and consumers of one queue have in common. */
class End extends Waiting {
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

/** The end at which items are put. */
export class Producer extends End {
  /**
   * @param {import("./arena.mjs").Arena} arena
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   * @param {() => Uint8Array} heap
   */
  constructor(arena, offset, bell, heap) {
    super(arena, offset, bell, heap, GETS);
    this.consumers = new Waiting(arena, offset + 4 * PUTS, bell);
    this.length = 0;
  }

  /**
   * @param {number} capacity bytes of the ring, a multiple of 4
   * @param {number} maxsize
   */
  initialize(capacity, maxsize) {
    this.set(CAPACITY, capacity);
    this.set(MAXSIZE, maxsize);
  }

  /**
   * Tries once to put the bytes in the box.
   * @param {number} length of them
   * @param {number} [waited] for how many milliseconds this has been tried in vain
   * @returns {number} 1, NOT_YET or ENDED
   */
  put(length, waited = 0) {
    this.length = length;
    this.many = false;
    return this.attempt(waited);
  }

  /**
   * Tries once to put the items in the box, one after the other.
   * @param {number} length of all, with their words
   * @param {number} [waited]
   * @returns {number} how many were put; NOT_YET or ENDED if none was
   */
  putMany(length, waited = 0) {
    this.length = length;
    this.many = true;
    return this.attempt(waited);
  }

  take() {
    if (this.isClosed()) return ENDED;
    const maxsize = this.get(MAXSIZE);
    if (maxsize > 0 && this.depth() >= maxsize) return NOT_YET;
    if (!this.own(PRODUCER, PUT_LOSSES)) return NOT_YET;
    let put = NOT_YET;
    try {
      put = this.many ? this.#putAll() : this.#putOne(this.box, this.length, false);
    } finally {
      this.disown(PRODUCER);
    }
    if (put > 0) this.consumers.wake(put);
    return put;
  }

  /** @returns {number} how many items of the box were put; NOT_YET or ENDED if none was */
  #putAll() {
    const { box, length } = this;
    const heap = this.heap();
    const view = new DataView(heap.buffer, heap.byteOffset + box, length);
    let count = 0;
    for (let at = 0; at < length; count++) {
      const word = view.getUint32(at, true);
      const bytes = word & ~BLOCK;
      const put = this.#putOne(box + at + 4, bytes, word >= BLOCK);
      if (put !== 1) return count || put;
      at += 4 + padded(bytes);
    }
    return count;
  }

  /**
   * @param {number} at address of an item
   * @param {number} length of it
   * @param {boolean} isBlock whether it is the offset of a block, which this thread owns
   */
  #putOne(at, length, isBlock) {
    const { arena } = this;
    const heap = this.heap();
    const puts = this.get(PUTS);
    if (puts & CLOSED) return ENDED;
    const capacity = this.bytes().length;
    const head = this.get(HEADS + (counted(puts) & 1));
    const size = isBlock ? 8 : length;
    if (!this.#hasRoom(puts, head, capacity, 4 + padded(size))) return NOT_YET;
    const body = (head + 4) % capacity;
    let bytes = length;
    let offset = 0;
    if (isBlock) {
      offset = new DataView(heap.buffer, heap.byteOffset + at, 4).getUint32(0, true);
      bytes = arena.lengthOf(offset, arena.self);
      arena.bytes(offset, 8);
      Atomics.store(arena.words, offset / 4, this.queue);
      Atomics.store(arena.words, offset / 4 + 1, counted(puts));
      this.setWord(head, 8 | BLOCK);
      this.setWord(body, offset);
      this.setWord((body + 4) % capacity, arena.self);
    } else {
      this.setWord(head, length);
      this.copyIn(body, heap, at, length);
    }
    this.set(HEADS + ((counted(puts) + 1) & 1), (body + padded(size)) % capacity);
    if (this.#commit(puts) !== puts) return ENDED;
    if (isBlock) this.hand(offset, arena.self, QUEUE);
    this.#count(bytes);
    return DONE;
  }

  /** @param {number} puts before */
  #commit(puts) {
    return Atomics.compareExchange(this.words, this.first + PUTS, puts, puts + 2);
  }

  /**
   * @param {number} puts
   * @param {number} head where the item is to begin
   * @param {number} capacity
   * @param {number} need bytes
   */
  #hasRoom(puts, head, capacity, need) {
    for (;;) {
      const gets = counted(this.get(GETS));
      const tail = this.get(TAILS + (gets & 1));
      // Consumers write where the one after the next begins over where this one did.
      if (counted(this.get(GETS)) !== gets) continue;
      const items = (counted(puts) - gets) & 0x7fffffff;
      const maxsize = this.get(MAXSIZE);
      if (maxsize > 0 && items >= maxsize) return false;
      const used = items === 0 ? 0 : (head - tail + capacity) % capacity || capacity;
      return capacity - used >= need;
    }
  }

  /** @param {number} bytes of an item that was put */
  #count(bytes) {
    const depth = this.depth();
    if (depth > this.get(PEAK)) this.set(PEAK, depth);
    const low = (this.get(BYTES) >>> 0) + bytes;
    this.set(BYTES, low | 0);
    if (low >= 2 ** 32) this.set(BYTES + 1, this.get(BYTES + 1) + 1);
  }

  /**
   * Tries for a while to put what is in the box, and blocks meanwhile.
   * @param {number} length
   * @param {boolean} many
   * @param {number} milliseconds
   * @param {number} waited
   */
  putFor(length, many, milliseconds, waited) {
    this.length = length;
    this.many = many;
    return this.acquire(milliseconds, waited);
  }

  /**
   * Frees a block that was not put after all.
   * @param {number} offset
   */
  drop(offset) {
    const { arena } = this;
    if (this.hand(offset, arena.self, arena.self)) arena.free(offset);
  }

  statistics() {
    const { waiting, waits } = this.counts();
    const consumers = this.consumers.counts();
    return {
      puts: counted(this.get(PUTS)),
      gets: counted(this.get(GETS)),
      done: this.get(FINISHED),
      depth: this.depth(),
      peak: this.get(PEAK),
      bytes: (this.get(BYTES) >>> 0) + this.get(BYTES + 1) * 2 ** 32,
      capacity: this.get(CAPACITY),
      maxsize: this.get(MAXSIZE),
      closed: this.isClosed(),
      producers: waiting,
      consumers: consumers.waiting,
      putWaits: waits,
      getWaits: consumers.waits,
      losses: this.get(PUT_LOSSES) + this.get(GET_LOSSES),
    };
  }
}

/** The end at which items are taken. */
export class Consumer extends End {
  /**
   * @param {import("./arena.mjs").Arena} arena
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   * @param {() => Uint8Array} heap
   */
  constructor(arena, offset, bell, heap) {
    super(arena, offset, bell, heap, PUTS);
    this.producers = new Waiting(arena, offset + 4 * GETS, bell);
    this.most = 1;
  }

  /**
   * Tries once to take an item into the box.
   * @param {number} [waited] for how many milliseconds this has been tried in vain
   * @returns {number} its length plus 1, NOT_YET, ENDED, or TOOK_BLOCK
   */
  takeOne(waited = 0) {
    this.many = false;
    return this.attempt(waited);
  }

  /**
   * Tries once to take items into the box, with their words.
   * @param {number} most so many
   * @param {number} [waited]
   * @returns {number} length of all in the box; NOT_YET or ENDED if there is none
   */
  takeMany(most, waited = 0) {
    this.many = true;
    this.most = most;
    return this.attempt(waited);
  }

  /**
   * Tries for a while, and blocks meanwhile.
   * @param {number} most items; 0 one, without its word
   * @param {number} milliseconds
   * @param {number} waited
   */
  takeFor(most, milliseconds, waited) {
    this.many = most > 0;
    this.most = most;
    return this.acquire(milliseconds, waited);
  }

  /** @param {number} waited */
  attempt(waited) {
    // Where there is enough for all who wait, nobody has to let others go first.
    this.contended = this.depth() <= this.counts().waiting;
    return super.attempt(waited);
  }

  take() {
    if (this.depth() === 0 && !this.isClosed()) return NOT_YET;
    if (!this.own(CONSUMER, GET_LOSSES)) return NOT_YET;
    const before = this.get(GETS);
    let taken = NOT_YET;
    try {
      taken = this.many ? this.#takeAll() : this.#takeNext(this.box, this.boxBytes);
    } finally {
      this.disown(CONSUMER);
    }
    const room = (counted(this.get(GETS)) - counted(before)) & 0x7fffffff;
    if (room > 0) this.producers.wake(room);
    return taken;
  }

  /** @returns {number} length of all items in the box; NOT_YET or ENDED if there is none */
  #takeAll() {
    const { box, boxBytes, most } = this;
    let at = 0;
    for (let count = 0; count < most && at + 4 <= boxBytes; count++) {
      const taken = this.#takeNext(box + at + 4, boxBytes - at - 4);
      if (taken === NOT_YET || taken === ENDED) return at || taken;
      const heap = this.heap();
      const length = taken === TOOK_BLOCK ? 4 : taken - 1;
      const word = taken === TOOK_BLOCK ? 4 | BLOCK : length;
      new DataView(heap.buffer, heap.byteOffset + box + at, 4).setUint32(0, word, true);
      at += 4 + padded(length);
    }
    return at;
  }

  /**
   * @param {number} to address for the item, or the offset of its block
   * @param {number} room bytes there
   * @returns {number} length of the item plus 1, TOOK_BLOCK, NOT_YET or ENDED
   */
  #takeNext(to, room) {
    const capacity = this.bytes().length;
    for (;;) {
      const puts = this.get(PUTS);
      const gets = counted(this.get(GETS));
      if (gets === counted(puts)) return puts & CLOSED ? ENDED : NOT_YET;
      const tail = this.get(TAILS + (gets & 1));
      const word = this.word(tail);
      const length = word & ~BLOCK;
      const body = (tail + 4) % capacity;
      const heap = this.heap();
      let taken = TOOK_BLOCK;
      if (word < BLOCK) {
        if (length > room) return NOT_YET;
        this.copyOut(body, heap, to, length);
        taken = length + 1;
      } else {
        const offset = this.word(body);
        if (4 > room) return NOT_YET;
        if (this.claim(offset, this.word((body + 4) % capacity), gets)) {
          new DataView(heap.buffer, heap.byteOffset + to, 4).setUint32(0, offset, true);
        } else taken = NOT_YET; // it has gone with its producer, or with a consumer
      }
      this.set(TAILS + ((gets + 1) & 1), (body + padded(length)) % capacity);
      Atomics.add(this.words, this.first + GETS, 2);
      if (taken !== NOT_YET) return taken;
      // As nobody will say that it is done with.
      this.taskDone();
    }
  }

  /** @returns {boolean} false: no more items were put */
  taskDone() {
    const { words, first, arena, queue, bell } = this;
    for (let done = this.get(FINISHED); ; ) {
      if (done === counted(this.get(PUTS))) return false;
      const next = (done + 1) & 0x7fffffff;
      const found = Atomics.compareExchange(words, first + FINISHED, done, next);
      if (found === done) {
        if (next === counted(this.get(PUTS))) {
          new Waiting(arena, queue + 4 * FINISHED, bell).wake(Number.POSITIVE_INFINITY);
        }
        return true;
      }
      done = found;
    }
  }

  /**
   * Takes all items and drops them.
   * @returns {boolean} false: another thread owns this side, for now
   */
  drain() {
    if (!this.own(CONSUMER, GET_LOSSES)) return false;
    try {
      for (;;) {
        const taken = this.#takeNext(this.box, this.boxBytes);
        if (taken === NOT_YET || taken === ENDED) break;
        if (taken === TOOK_BLOCK) {
          const heap = this.heap();
          const view = new DataView(heap.buffer, heap.byteOffset + this.box, 4);
          this.arena.free(view.getUint32(0, true));
        }
        this.taskDone();
      }
    } finally {
      this.disown(CONSUMER);
    }
    this.producers.wake(Number.POSITIVE_INFINITY);
    return true;
  }

  /**
   * Frees the blocks that wait in the ring; for who frees the queue, which nobody uses any more but
   * perhaps threads that are being ended.
   */
  dispose() {
    this.close();
    const capacity = this.bytes().length;
    let gets = counted(this.get(GETS));
    const count = this.depth();
    let at = this.get(TAILS + (gets & 1));
    for (let i = 0; i < count; i++) {
      const word = this.word(at);
      const body = (at + 4) % capacity;
      const offset = this.word(body);
      if (word >= BLOCK && this.claim(offset, this.word((body + 4) % capacity), gets)) {
        this.arena.free(offset);
      }
      gets = (gets + 1) & 0x7fffffff;
      at = (body + padded(word & ~BLOCK)) % capacity;
    }
  }
}

/** Waits for an item, or the end, without taking anything. */
export class Onlooker extends End {
  contended = false;

  /**
   * @param {import("./arena.mjs").Arena} arena
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   * @param {() => Uint8Array} heap
   */
  constructor(arena, offset, bell, heap) {
    super(arena, offset, bell, heap, PUTS);
  }

  take() {
    if (this.depth() === 0 && !this.isClosed()) return NOT_YET;
    // The one who was woken for the item may have been this one.
    this.wake(1);
    return DONE;
  }
}

/** Waits until all that was put is done with. */
export class Joiner extends End {
  contended = false;

  /**
   * @param {import("./arena.mjs").Arena} arena
   * @param {number} offset
   * @param {import("./ring.mjs").Doorbell | undefined} bell
   * @param {() => Uint8Array} heap
   */
  constructor(arena, offset, bell, heap) {
    super(arena, offset, bell, heap, FINISHED);
  }

  /** @param {number} state */
  take(state) {
    return state === counted(this.get(PUTS)) ? DONE : NOT_YET;
  }
}
