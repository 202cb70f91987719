/**
 * The ends of a queue in shared memory: where items are put and taken, and two that only wait.
 *
 * Owns how an item gets into the ring and out of it. Knows an item as bytes, or as a block of the
 * arena; knows nothing of Python, nor of how a thread waits. Words and ring are those of
 * `queue_ring.mjs`.
 */

import { QUEUE } from "./arena.mjs";
import {
  BLOCK,
  BYTES,
  CAPACITY,
  CLOSED,
  CONSUMER,
  counted,
  End,
  FINISHED,
  GET_LOSSES,
  GETS,
  HEADS,
  MAXSIZE,
  PEAK,
  PRODUCER,
  PUT_LOSSES,
  PUTS,
  padded,
  TAILS,
} from "./queue_ring.mjs";
import { DONE, NOT_YET, Waiting } from "./waiting.mjs";

/** There will be nothing more: a try came to its end, though nothing was put or taken. */
export const ENDED = -1;
/** What was taken is a block, whose offset is the word in the inbox. */
export const TOOK_BLOCK = -2;

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
    /**
     * Blocks that were put, and about which `drop` was not asked since: how often, as what was at
     * the same place before may be another batch's.
     * @type {Map<number, number>}
     */
    this.gone = new Map();
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
    if (isBlock) {
      this.gone.set(offset, (this.gone.get(offset) ?? 0) + 1);
      this.hand(offset, arena.self, QUEUE);
    }
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
   * Frees a block unless it was put. Whoever makes one to put it asks this once, in the end: by then
   * another block may be in its place, which is perhaps this thread's again.
   * @param {number} offset
   */
  drop(offset) {
    const { arena, gone } = this;
    const times = gone.get(offset) ?? 0;
    if (times > 1) gone.set(offset, times - 1);
    else gone.delete(offset);
    if (times > 0) return;
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
