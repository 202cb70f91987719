/**
 * Offers `arena.mjs` to the tests in `arena`: several threads' views of one region, in one thread.
 *
 * `regionOf` reads a region by the layout that is documented there, without its code. An operation
 * can be watched: before each of its stores something else may happen, as its thread's end.
 */

import { fileURLToPath } from "node:url";
import { Arena, arenaMemory } from "../../js_shim/arena.mjs";
import { answer } from "./json_lines.mjs";

const PAGE = 65_536;
const DATA = 320;
const LISTS = 48;
const NUMBERS = {
  magic: 0,
  version: 1,
  end: 2,
  lock: 3,
  sleepers: 4,
  dirty: 5,
  maximum: 6,
  last: 7,
  classes: 16,
  used: 17,
  blocks: 18,
  peak: 19,
  allocations: 20,
  frees: 21,
  refusals: 22,
  recoveries: 23,
};

/**
 * What stands in a region: its numbers, its blocks in order, and who is in the list of each class.
 * Ends where it makes no sense, which the sums then show.
 * @param {WebAssembly.Memory} memory
 */
export function regionOf(memory) {
  memory.grow(0);
  const words = new Int32Array(memory.buffer);
  const numbers = Object.fromEntries(
    Object.entries(NUMBERS).map(([name, index]) => [name, words[index]]),
  );
  const row = [];
  for (let at = DATA; at < numbers.end && row.length < 100_000; ) {
    const [word, before, third, fourth] = words.subarray(at / 4);
    row.push({ at, size: word & ~1, inUse: (word & 1) === 1, before, third, fourth });
    if ((word & ~1) < 16) break;
    at += word & ~1;
  }
  const lists = [];
  for (let list = 0; list < 32; list++) {
    const members = [];
    for (let at = words[LISTS + list]; at > 0 && members.length <= row.length; ) {
      members.push(at);
      at = words[at / 4 + 2];
    }
    lists.push(members);
  }
  return { ...numbers, row, lists };
}

/** @type {WebAssembly.Memory} */
let memory;
/** @type {Map<number, any>} by the numbers of their peers */
let arenas = new Map();
/** @type {Uint8Array[]} */
let views = [];

/**
 * @param {number} maximum that the header names
 * @param {number} pages that the memory could have
 */
function memoryByHand(maximum, pages) {
  const made = new WebAssembly.Memory({ initial: 1, maximum: pages, shared: true });
  new Int32Array(made.buffer).set([0x50595741, 1, DATA, 0, 0, 0, maximum]);
  return made;
}

const bytesAt = (/** @type {number} */ offset, /** @type {number} */ length) =>
  Buffer.from(memory.buffer, offset, length);

// Watched operations

/** @type {WeakMap<object, {words: Int32Array, before: () => void}>} by what stands for the words */
const watched = new WeakMap();
const atomics = Atomics;

/**
 * @param {Int32Array} words
 * @param {() => void} before each store
 */
function watchedWords(words, before) {
  const proxy = new Proxy(words, {
    get(_, key) {
      if (key !== "fill") return /** @type {any} */ (words)[key];
      return (
        /** @type {number} */ value,
        /** @type {number} */ from,
        /** @type {number} */ to,
      ) => {
        for (let i = from; i < to; i++) {
          before();
          words[i] = value;
        }
      };
    },
    set(_, key, value) {
      before();
      /** @type {any} */ (words)[key] = value;
      return true;
    },
  });
  watched.set(proxy, { words, before });
  return proxy;
}

/**
 * Has something done before each store of an arena, each growth and each call that wakes.
 * @param {any} arena
 * @param {() => void} before
 */
function watch(arena, before) {
  const { memory: real, words } = arena;
  let proxy = watchedWords(words, before);
  Object.defineProperty(arena, "words", {
    get: () => proxy,
    set: (newer) => {
      proxy = watchedWords(newer, before);
    },
  });
  arena.memory = {
    get buffer() {
      return real.buffer;
    },
    grow(/** @type {number} */ pages) {
      before();
      return real.grow(pages);
    },
  };
}

/** Lets Atomics take watched words. */
function teachAtomics() {
  const taught = Object.getOwnPropertyNames(atomics).map((name) => [
    name,
    (/** @type {any} */ target, /** @type {any[]} */ ...args) => {
      const found = watched.get(target);
      if (found && name !== "load") found.before();
      return /** @type {any} */ (atomics)[name](found?.words ?? target, ...args);
    },
  ]);
  globalThis.Atomics = /** @type {any} */ (Object.fromEntries(taught));
}

class Death extends Error {}

/**
 * @param {number} number of a peer
 * @param {boolean} canBlock
 */
function enter(number, canBlock) {
  arenas.set(number, new Arena(memory, number, canBlock));
}

/** Each command but the first two is about the region that was made last. */
const commands = {
  /** A new region, as a hub makes it. */
  newRegion: () => {
    memory = arenaMemory();
    arenas = new Map();
    views = [];
  },

  /** A new and small one: what is its maximum, and how many pages the memory could have. */
  newSmallRegion: ({ maximum, pages }) => {
    memory = memoryByHand(maximum, pages ?? Math.ceil(maximum / PAGE) + 1);
    arenas = new Map();
    views = [];
  },

  enter: ({ number, canBlock }) => enter(number, canBlock),

  look: () => regionOf(memory),

  /** Writes numbers of the header by hand. */
  set: ({ numbers }) => {
    const words = new Int32Array(memory.buffer);
    for (const [name, value] of Object.entries(numbers)) {
      words[/** @type {Record<string, number>} */ (NUMBERS)[name]] = /** @type {number} */ (value);
    }
  },

  /** Has an arena do something. */
  call: ({ number, what, args }) => arenas.get(number)[what](...args),

  /** Allocates and writes contents for several owners, and then frees some of it. */
  furnish: ({ blocks, holes }) => {
    const offsets = blocks.map((/** @type {number[]} */ [owner, length, byte]) => {
      const offset = arenas.get(owner).allocate(length, owner);
      bytesAt(offset, length).fill(byte);
      return offset;
    });
    for (const hole of holes) arenas.get(blocks[hole][0]).free(offsets[hole]);
    return offsets;
  },

  fill: ({ offset, length, byte }) => void bytesAt(offset, length).fill(byte),

  /** Which of these contents are not what they were: offset, length and byte of each. */
  spoilt: ({ contents }) =>
    contents.filter((/** @type {number[]} */ [offset, length, byte]) => {
      const found = bytesAt(offset, length);
      return length > 0 && !(found[0] === byte && found.subarray(1).equals(found.subarray(0, -1)));
    }),

  /** Keeps a view of an arena, and says which first byte each of those kept shows. */
  keepView: ({ number, offset, length }) =>
    void views.push(arenas.get(number).bytes(offset, length)),
  viewed: () => views.map((view) => [view.length, view[0], view.at(-1)]),

  /** An arena does something, and its thread ends before its store of that number: did it end? */
  die: ({ number, what, args, step }) => {
    let stores = 0;
    watch(arenas.get(number), () => {
      stores++;
      if (stores >= step) throw new Death();
    });
    try {
      arenas.get(number)[what](...args);
      return false;
    } catch (error) {
      if (error instanceof Death) return true;
      throw error;
    } finally {
      arenas.delete(number);
    }
  },

  /**
   * An arena does something, and before its store of that number another one does something else.
   * Tells what came of both: a value, the name of an error, or nothing if it did not get so far.
   */
  interrupt: ({ number, what, args, step, by }) => {
    const attempt = (
      /** @type {any} */ arena,
      /** @type {string} */ name,
      /** @type {any} */ with_,
    ) => {
      try {
        return { value: arena[name](...with_) ?? null };
      } catch (error) {
        return { error: /** @type {Error} */ (error).name };
      }
    };
    let stores = 0;
    let other;
    watch(arenas.get(number), () => {
      stores++;
      if (stores === step) other = attempt(arenas.get(by.number), by.what, by.args);
    });
    const own = attempt(arenas.get(number), what, args);
    enter(number, false);
    return { own, other: other ?? null };
  },
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  teachAtomics();
  await answer(commands);
}
