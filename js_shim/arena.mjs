/**
 * One region of memory that a hub, its workers and their broker share, and its allocator.
 *
 * Owns the layout of the region, its lock, and which bytes are in use by whom. Knows nothing of
 * what the bytes mean, nor of channels, Python or tasks.
 *
 * The region is a shared WebAssembly.Memory, as that is the one form of shared memory that can
 * grow in place in every engine. It takes address space at once, and memory when it is first
 * written to. What is freed is used again, and never given back to the system. All numbers are
 * 32-bit words, all offsets and sizes bytes:
 *
 *   header, 64 bytes, word
 *     0 magic     "PYWA"
 *     1 version   of this layout
 *     2 end       offset behind the last block
 *     3 lock      0, or who holds it: its number plus 1
 *     4 sleepers  how many waits are pending on the lock
 *     5 dirty     1 while the holder changes blocks: whoever finds it set takes the lists for
 *                 broken, and makes them anew from the blocks
 *     6 maximum   offset that the end cannot pass
 *     7 last      size of the last block
 *     8 to 11     random: by them one region is told from another
 *   metadata, 256 bytes, word
 *     16 classes     bit n is set when the list of class n holds a block
 *     17 used        bytes in blocks that are in use, with their headers
 *     18 blocks      how many blocks are in use
 *     19 peak        the most that 17 ever was
 *     20 allocations, 21 frees, 22 refusals (no room), 23 recoveries (lists made anew)
 *     24 seats       offset of the table of workers that use primitives, 0 before the first one
 *     25 watchers    how many waits of the hub's thread are for a primitive: who changes one then
 *                    rings the hub's bell
 *     48 to 79       first free block of each class; a class holds sizes from 2^n up
 *   data: blocks without gaps, each a multiple of 16 bytes, with a header of 16:
 *     0 size      with its header; the lowest bit is set while the block is in use
 *     1 before    size of the block before this one, 0 for the first
 *     2 in use: owner, or ~ of the peer that is freeing it; free: next of its list, 0 at the end
 *     3 in use: length asked for; free: the one before in its list, 0 for the first
 *
 * The sizes and their bits are the truth; all else can be made anew from them. Each step from one
 * valid row of blocks to the next is the store of one word: a block is split by writing the header
 * of its rest and then its own size, joined by storing the sum. So whatever dies while it holds
 * the lock leaves a row that can be walked, with no byte in two blocks.
 *
 * A worker takes a seat, a word of the table that holds its number plus 1, before it first uses a
 * primitive, and loses it when it has ended. So whatever a primitive says of a worker without a
 * seat, that worker will do nothing about it any more.
 *
 * An owner is the number of a peer, on whose account the block is freed when that peer has ended,
 * or 0 for the hub.
 */

const MAGIC = 0x50595741;
const VERSION = 1;
const END = 2;
const LOCK = 3;
const SLEEPERS = 4;
const DIRTY = 5;
const MAXIMUM = 6;
const LAST = 7;
const IDENTITY = 8;
const CLASSES = 16;
const USED = 17;
const BLOCKS = 18;
const PEAK = 19;
const ALLOCATIONS = 20;
const FREES = 21;
const REFUSALS = 22;
const RECOVERIES = 23;
const SEATS = 24;
const WATCHERS = 25;
const LISTS = 48;
const DATA = 320;

const HEAD = 16;
const BEFORE = 1;
const NEXT = 2;
const OWNER = 2;
const PREVIOUS = 3;
const LENGTH = 3;

const PAGE_BYTES = 65_536;
const MIN_BYTES = 2 ** 20;
const MAX_BYTES = 2 ** 31;
/** The region grows by at least so much, while it can. */
const GROWTH = 4 * 2 ** 20;
/** So many blocks of a list are looked at before a larger class is. */
const LOOKS = 16;
const SPINS = 2_000;
/** So many workers of a hub can use primitives at the same time. */
const MAX_SEATS = 1_024;
/** A holder needs microseconds, unless it is not scheduled or has ended; the broker notices that. */
const PATIENCE_MS = 5_000;
/** The same for a thread that must not block. */
const SPIN_MS = 5;

/** Numbers of those that are no worker. */
export const HUB = 0;
export const BROKER = 0x3fffffff;
export const PAGE = 0x3ffffffe;
/** Owns what is on its way through a queue. */
export const QUEUE = 0x3ffffffd;

/** @returns {WebAssembly.Memory} an empty region */
export function arenaMemory() {
  for (let maximum = MAX_BYTES; ; maximum /= 2) {
    try {
      const pages = {
        initial: MIN_BYTES / PAGE_BYTES,
        maximum: maximum / PAGE_BYTES,
        shared: true,
      };
      const memory = new WebAssembly.Memory(pages);
      const words = new Int32Array(memory.buffer);
      words.set([MAGIC, VERSION, DATA, 0, 0, 0, maximum - PAGE_BYTES]);
      words.set(crypto.getRandomValues(new Int32Array(4)), IDENTITY);
      return memory;
    } catch (error) {
      // A device with little address space.
      if (maximum <= MIN_BYTES) throw error;
    }
  }
}

/** @param {number} length */
const aligned = (length) => (length + HEAD - 1) & -HEAD;

/** One thread's view of the region. */
export class Arena {
  /** Blocks to be freed by whoever next gets the lock here. @type {number[]} */
  #late = [];

  /**
   * @param {WebAssembly.Memory} memory of `arenaMemory()`
   * @param {number} self number of this thread's peer, HUB, or BROKER
   * @param {boolean} canBlock whether this thread may wait in Atomics.wait
   */
  constructor(memory, self, canBlock) {
    this.memory = memory;
    this.self = self;
    this.canBlock = canBlock;
    this.words = new Int32Array(memory.buffer);
    this.whole = new Uint8Array(this.words.buffer);
    if (this.words[0] !== MAGIC || this.words[1] !== VERSION) {
      throw new Error(`shared memory of layout ${this.words[1]}, where ${VERSION} is known`);
    }
  }

  /**
   * Reserves bytes, which hold anything.
   * @param {number} length
   * @param {number} owner number of a peer, or HUB
   * @returns {number} offset of the bytes, a multiple of 16; 0 where there is no room
   */
  allocate(length, owner) {
    if (length > MAX_BYTES / 2) return 0;
    const need = aligned(length) + HEAD;
    return this.#locked(() => this.#allocate(Math.max(need, 2 * HEAD), length, owner)) ?? 0;
  }

  /**
   * Gives bytes back.
   * @param {number} offset of `allocate`
   * @throws {RangeError} nothing in use begins there
   */
  free(offset) {
    const block = this.#block(offset);
    // From here on it is freed by this thread and no other, though perhaps later.
    this.hand(offset, this.#word(block / 4 + OWNER), ~this.self);
    if (this.#locked(() => this.#free(block)) === undefined) this.#late.push(block);
  }

  /**
   * Frees what is on the account of a peer that has ended, its lock too.
   * @param {number} peer
   * @returns {boolean} false: not yet, as another thread holds the lock
   */
  sweep(peer) {
    this.#release(peer + 1);
    this.#stand(peer);
    const swept = this.#locked(() => {
      for (const block of this.#blocks()) {
        if (!(this.#word(block / 4) & 1)) continue;
        // What another takes over in this moment, without the lock, is that one's.
        const owner = Atomics.compareExchange(this.words, block / 4 + OWNER, peer, ~this.self);
        if (owner === peer || owner === ~peer) this.#free(block);
      }
      return true;
    });
    return swept ?? false;
  }

  /**
   * Takes a seat for this thread's worker, unless it has one.
   * @throws {Error} all are taken, or there is no room for them
   */
  sit() {
    if (this.self === HUB || this.self >= PAGE) return;
    const mine = this.self + 1;
    const first = this.#seats();
    const { words } = this;
    for (let i = first; i < first + MAX_SEATS; i++) if (Atomics.load(words, i) === mine) return;
    for (let i = first; i < first + MAX_SEATS; i++) {
      if (Atomics.compareExchange(words, i, 0, mine) === 0) return;
    }
    throw new Error(`more than ${MAX_SEATS} workers use primitives in shared memory`);
  }

  /**
   * @param {number} peer that has once had a seat, HUB, or PAGE
   * @returns {boolean} whether it may still do something
   */
  isSeated(peer) {
    if (peer === HUB || peer === PAGE) return true;
    const first = Atomics.load(this.words, SEATS) / 4;
    this.#reach((first + MAX_SEATS) * 4);
    for (let i = first; i < first + MAX_SEATS; i++) {
      if (Atomics.load(this.words, i) === peer + 1) return true;
    }
    return false;
  }

  /** @returns {number} index of the first seat */
  #seats() {
    const known = Atomics.load(this.words, SEATS);
    if (known !== 0) {
      this.#reach(known + MAX_SEATS * 4);
      return known / 4;
    }
    const made = this.allocate(MAX_SEATS * 4, HUB);
    if (made === 0) throw new Error("the shared memory has no room for the first primitive");
    this.bytes(made, MAX_SEATS * 4).fill(0);
    const other = Atomics.compareExchange(this.words, SEATS, 0, made);
    if (other === 0) return made / 4;
    this.hand(made, HUB, this.self);
    this.free(made);
    this.#reach(other + MAX_SEATS * 4);
    return other / 4;
  }

  /** @param {number} peer that has ended */
  #stand(peer) {
    const first = Atomics.load(this.words, SEATS) / 4;
    if (first === 0) return;
    this.#reach((first + MAX_SEATS) * 4);
    for (let i = first; i < first + MAX_SEATS; i++) {
      Atomics.compareExchange(this.words, i, peer + 1, 0);
    }
  }

  /**
   * Notes that the hub's thread waits for a primitive, or does not any more.
   * @param {1 | -1} change
   */
  watch(change) {
    Atomics.add(this.words, WATCHERS, change);
  }

  /** @returns {boolean} whether it does */
  isWatched() {
    return Atomics.load(this.words, WATCHERS) > 0;
  }

  /**
   * Changes on whose account bytes are freed.
   * @param {number} offset of `allocate`
   * @param {number} from who owns them now
   * @param {number} to who shall
   * @throws {RangeError} nothing of that owner begins there
   */
  hand(offset, from, to) {
    const at = this.#block(offset) / 4 + OWNER;
    if (Atomics.compareExchange(this.words, at, from, to) !== from) {
      throw new RangeError(`what is at ${offset} of the shared memory is not owned by ${from}`);
    }
  }

  /**
   * @param {number} offset of `allocate`
   * @param {number} owner who must own them
   * @returns {number} how many bytes were asked for
   * @throws {RangeError} nothing of that owner begins there
   */
  lengthOf(offset, owner) {
    const at = this.#block(offset) / 4;
    if (this.#word(at + OWNER) !== owner) {
      throw new RangeError(`what is at ${offset} of the shared memory is not owned by ${owner}`);
    }
    return this.#word(at + LENGTH);
  }

  /**
   * @param {number} offset
   * @param {number} length
   * @returns {Uint8Array} a view, which stays valid when the region grows; its buffer reaches to the
   *   end of the last block
   */
  bytes(offset, length) {
    // Primitives take the buffer for all their words, of which they name the first ones only.
    this.#reach(Math.max(offset + length, Atomics.load(this.words, END)));
    return this.whole.subarray(offset, offset + length);
  }

  /**
   * Says whether something is this region: in each thread it is another object.
   * @param {SharedArrayBuffer} buffer
   */
  isSameAs(buffer) {
    if (buffer.byteLength < DATA) return false;
    const words = new Int32Array(buffer, 0, IDENTITY + 4);
    return words.every((word, i) => i < IDENTITY || word === this.words[i]);
  }

  /**
   * What is in use, and how well the rest can be used.
   * @throws {Error} another thread has held the lock for seconds
   */
  statistics() {
    const found = this.#locked(() => {
      let free = 0;
      let largest = 0;
      for (const block of this.#blocks()) {
        const size = this.#word(block / 4);
        if (size & 1) continue;
        free += size;
        largest = Math.max(largest, size);
      }
      return {
        bytes: this.#word(END),
        maximum: this.#word(MAXIMUM),
        used: this.#word(USED),
        peak: this.#word(PEAK),
        free,
        largest,
        blocks: this.#word(BLOCKS),
        allocations: this.#word(ALLOCATIONS),
        frees: this.#word(FREES),
        refusals: this.#word(REFUSALS),
        recoveries: this.#word(RECOVERIES),
      };
    });
    if (!found) {
      const holder = Atomics.load(this.words, LOCK) - 1;
      throw new Error(`the lock of the shared memory is held by ${holder}, which does not run`);
    }
    return found;
  }

  /** @param {number} index of a word within reach */
  #word(index) {
    return /** @type {number} */ (this.words[index]);
  }

  /**
   * Sees to it that the views reach to an offset, to which another thread may have grown the region.
   * @param {number} end
   */
  #reach(end) {
    if (end <= this.whole.length) return;
    // A thread is told of growth in the engine's own time; growing by nothing asks for it.
    if (end > this.memory.buffer.byteLength) this.memory.grow(0);
    this.words = new Int32Array(this.memory.buffer);
    // Of that very buffer: the engine may tell of growth between two looks at the memory.
    this.whole = new Uint8Array(this.words.buffer);
  }

  /**
   * Runs something while no other thread changes blocks.
   * @template T
   * @param {() => T} change
   * @returns {T | undefined} undefined: it was not run, as another thread holds the lock
   */
  #locked(change) {
    if (!this.#acquire()) return undefined;
    try {
      this.#reach(Atomics.load(this.words, END));
      if (Atomics.exchange(this.words, DIRTY, 1) === 1) this.#recover();
      while (this.#late.length > 0) this.#free(/** @type {number} */ (this.#late.pop()));
      const result = change();
      Atomics.store(this.words, DIRTY, 0);
      return result;
    } finally {
      this.#release(this.self + 1);
    }
  }

  /** @returns {boolean} false: in all that time it was not to be had */
  #acquire() {
    const { words, self } = this;
    let limit = 0;
    for (let i = 1; ; i++) {
      const holder = Atomics.compareExchange(words, LOCK, 0, self + 1);
      if (holder === 0) return true;
      if (i % SPINS !== 0) continue;
      const now = performance.now();
      limit ||= now + (this.canBlock ? PATIENCE_MS : SPIN_MS);
      if (now > limit) return false;
      if (!this.canBlock) continue;
      Atomics.add(words, SLEEPERS, 1);
      Atomics.wait(words, LOCK, holder, limit - now);
      Atomics.sub(words, SLEEPERS, 1);
    }
  }

  /** @param {number} holder whose lock it is, if it is locked by that one */
  #release(holder) {
    const { words } = this;
    if (Atomics.compareExchange(words, LOCK, holder, 0) !== holder) return;
    if (Atomics.load(words, SLEEPERS) > 0) Atomics.notify(words, LOCK);
  }

  /**
   * @param {number} offset of `allocate`
   * @returns {number} its block
   */
  #block(offset) {
    const block = offset - HEAD;
    if (!this.#isInUse(block)) {
      throw new RangeError(`nothing in use begins at ${offset} of the shared memory`);
    }
    return block;
  }

  /** @param {number} block perhaps one, perhaps within the contents of another */
  #isInUse(block) {
    const end = Atomics.load(this.words, END);
    if (!(block >= DATA && block < end && block % HEAD === 0)) return false;
    this.#reach(end);
    const size = this.#word(block / 4) - 1;
    if (size < 2 * HEAD || size % HEAD !== 0 || size > end - block) return false;
    // What the next block says of the size of one in use is right at any time.
    const next = block + size;
    if (next < end && this.#word(next / 4 + BEFORE) !== size) return false;
    return this.#word(block / 4 + OWNER) >= 0;
  }

  /** The blocks in order. One that was given may be freed before the next is asked for. */
  *#blocks() {
    const end = this.#word(END);
    for (let block = DATA; block < end; ) {
      const size = this.#word(block / 4) & ~1;
      if (size < 2 * HEAD || size > end - block) {
        throw new Error(`the shared memory is damaged at ${block}: a block of ${size} bytes`);
      }
      yield block;
      block += size;
    }
  }

  /**
   * @param {number} need
   * @param {number} length
   * @param {number} owner
   * @returns {number}
   */
  #allocate(need, length, owner) {
    const block = this.#find(need) || this.#grow(need);
    const { words } = this;
    if (!block) {
      words[REFUSALS] = this.#word(REFUSALS) + 1;
      return 0;
    }
    const at = block / 4;
    let size = this.#word(at);
    this.#unlink(block);
    const rest = size - need >= 2 * HEAD ? size - need : 0;
    if (rest) {
      size = need;
      words[(block + size) / 4] = rest;
      words[(block + size) / 4 + BEFORE] = size;
      this.#tellNext(block + size, rest);
    }
    words[at + OWNER] = owner;
    words[at + LENGTH] = length;
    words[ALLOCATIONS] = this.#word(ALLOCATIONS) + 1;
    Atomics.store(words, at, size | 1);
    if (rest) this.#link(block + size);
    words[BLOCKS] = this.#word(BLOCKS) + 1;
    words[USED] = this.#word(USED) + size;
    words[PEAK] = Math.max(this.#word(PEAK), this.#word(USED));
    return block + HEAD;
  }

  /** @param {number} block in use, and joined here with free neighbours */
  #free(block) {
    const { words } = this;
    let at = block / 4;
    let size = this.#word(at) & ~1;
    words[FREES] = this.#word(FREES) + 1;
    words[BLOCKS] = this.#word(BLOCKS) - 1;
    words[USED] = this.#word(USED) - size;
    Atomics.store(words, at, size);
    const next = block + size;
    if (next < this.#word(END) && !(this.#word(next / 4) & 1)) {
      this.#unlink(next);
      size += this.#word(next / 4);
      Atomics.store(words, at, size);
    }
    const before = this.#word(at + BEFORE);
    if (before && !(this.#word((block - before) / 4) & 1)) {
      block -= before;
      at = block / 4;
      this.#unlink(block);
      size += before;
      Atomics.store(words, at, size);
    }
    this.#tellNext(block, size);
    this.#link(block);
    return true;
  }

  /**
   * Adds free bytes at the end.
   * @param {number} need
   * @returns {number} a free block of at least that size, 0 if there can be none
   */
  #grow(need) {
    const end = this.#word(END);
    const last = end - this.#word(LAST);
    const joins = last < end && !(this.#word(last / 4) & 1);
    const missing = Math.max(joins ? need - this.#word(last / 4) : need, 2 * HEAD);
    const room = this.#word(MAXIMUM) - end;
    const wanted = Math.min(Math.max(missing, GROWTH, (end / 4) & -HEAD), room);
    const size = [wanted, missing].find(
      (bytes) => bytes >= missing && bytes <= room && this.#obtain(end + bytes),
    );
    if (!size) return 0;
    const { words } = this;
    words[end / 4] = size;
    words[end / 4 + BEFORE] = end - last;
    Atomics.store(words, END, end + size);
    words[LAST] = size;
    if (!joins) {
      this.#link(end);
      return end;
    }
    this.#unlink(last);
    const sum = this.#word(last / 4) + size;
    Atomics.store(words, last / 4, sum);
    words[LAST] = sum;
    this.#link(last);
    return last;
  }

  /**
   * @param {number} end
   * @returns {boolean} whether the memory now reaches to there
   */
  #obtain(end) {
    this.#reach(end);
    const pages = Math.ceil((end - this.whole.length) / PAGE_BYTES);
    if (pages <= 0) return true;
    try {
      this.memory.grow(pages);
    } catch {
      return false; // RangeError: the system has no more
    }
    this.#reach(end);
    return true;
  }

  /** Makes anew what follows from the sizes of the blocks. */
  #recover() {
    const { words } = this;
    words.fill(0, LISTS, LISTS + 32);
    words[CLASSES] = 0;
    words[LAST] = 0;
    let used = 0;
    let blocks = 0;
    let previous = 0;
    for (const block of this.#blocks()) {
      const size = this.#word(block / 4);
      if (size & 1) {
        used += size & ~1;
        blocks++;
      } else if (previous && !(this.#word(previous / 4) & 1)) {
        Atomics.store(words, previous / 4, this.#word(previous / 4) + size);
        continue;
      }
      words[block / 4 + BEFORE] = previous ? block - previous : 0;
      previous = block;
    }
    for (const block of this.#blocks()) {
      if (!(this.#word(block / 4) & 1)) this.#link(block);
    }
    if (previous) words[LAST] = this.#word(END) - previous;
    words[USED] = used;
    words[BLOCKS] = blocks;
    words[PEAK] = Math.max(this.#word(PEAK), used);
    words[FREES] = this.#word(ALLOCATIONS) - blocks;
    words[RECOVERIES] = this.#word(RECOVERIES) + 1;
  }

  /**
   * Notes the size of a block behind it.
   * @param {number} block
   * @param {number} size
   */
  #tellNext(block, size) {
    const next = block + size;
    this.words[next < this.#word(END) ? next / 4 + BEFORE : LAST] = size;
  }

  /**
   * @param {number} need
   * @returns {number} a free block of at least that size, 0 if there is none
   */
  #find(need) {
    const own = 31 - Math.clz32(need);
    const block = this.#search(own, need, LOOKS);
    if (block) return block;
    const larger = this.#word(CLASSES) & (-2 << own);
    if (larger) return this.#word(LISTS + 31 - Math.clz32(larger & -larger));
    return this.#search(own, need, Number.POSITIVE_INFINITY);
  }

  /**
   * @param {number} list a class
   * @param {number} need
   * @param {number} looks at so many blocks at the most
   * @returns {number} the first of them that fits, 0 if none does
   */
  #search(list, need, looks) {
    let block = this.#word(LISTS + list);
    for (let i = 0; block && i < looks; i++) {
      if (this.#word(block / 4) >= need) return block;
      block = this.#word(block / 4 + NEXT);
    }
    return 0;
  }

  /** @param {number} block free, and put first in the list of its class */
  #link(block) {
    const { words } = this;
    const list = 31 - Math.clz32(this.#word(block / 4));
    const next = this.#word(LISTS + list);
    words[block / 4 + NEXT] = next;
    words[block / 4 + PREVIOUS] = 0;
    if (next) words[next / 4 + PREVIOUS] = block;
    words[LISTS + list] = block;
    words[CLASSES] = this.#word(CLASSES) | (1 << list);
  }

  /** @param {number} block free, and taken out of its list */
  #unlink(block) {
    const { words } = this;
    const next = this.#word(block / 4 + NEXT);
    const previous = this.#word(block / 4 + PREVIOUS);
    if (next) words[next / 4 + PREVIOUS] = previous;
    if (previous) {
      words[previous / 4 + NEXT] = next;
      return;
    }
    const list = 31 - Math.clz32(this.#word(block / 4));
    words[LISTS + list] = next;
    if (!next) words[CLASSES] = this.#word(CLASSES) & ~(1 << list);
  }
}
