/**
 * Memory snapshots: the memory of an interpreter that has started, from which others start.
 *
 * Owns the form of one, the checks before it is used, and its way into another memory. Knows
 * nothing of threads, nor of where a snapshot is kept.
 *
 * A snapshot belongs to one build of Pyodide's core and to one start archive, the zip of the Python
 * packages that were imported into it. Pages of zeros are neither stored nor written. All words are
 * u32, little-endian:
 *
 * | words | content |
 * |---|---|
 * | 0 | magic |
 * | 1 | version of this form |
 * | 2 | length of the whole, in bytes |
 * | 3 to 10 | build id of Pyodide's core |
 * | 11, 12 | checksum of the start archive |
 * | 13, 14 | checksum of all that follows |
 * | 15 | length of the memory, in pages |
 * | 16 | length of Pyodide's own header, in bytes |
 * | 17 | number of runs |
 * | 18 | number of places |
 * | from 19 | runs: first page, number of pages |
 * | then | places: addresses of functions, for which see `placesIn` |
 *
 * Then come Pyodide's own header, and the pages of all runs. Where the whole is kept compressed by
 * gzip, that has a checksum of its own, and tells a damaged one.
 */

const MAGIC = 0x4e535750;
/** To be raised as well when `symbols.mjs` has functions get other addresses. */
const FORMAT = 3;
const PAGE = 4096;
const HEADER_WORDS = 19;
const CHECKSUM_WORD = 13;
const CHECKED_WORD = 15;

/**
 * @param {Uint8Array} bytes
 * @returns {Uint32Array} the same memory where that is possible, else a copy, filled up with zeros
 */
function wordsOf(bytes) {
  const count = Math.ceil(bytes.length / 4);
  if (bytes.byteOffset % 4 === 0 && bytes.length === 4 * count) {
    return new Uint32Array(bytes.buffer, bytes.byteOffset, count);
  }
  const words = new Uint32Array(count);
  new Uint8Array(words.buffer).set(bytes);
  return words;
}

/**
 * 64 bits that any changed word changes.
 * @param {Uint8Array} bytes
 * @returns {[number, number]}
 */
export function checksum(bytes) {
  const words = wordsOf(bytes);
  let one = 0x811c9dc5 ^ bytes.length;
  let other = 0x9e3779b9;
  for (let index = 0; index < words.length; index++) {
    const word = /** @type {number} */ (words[index]);
    one = Math.imul(one ^ word, 0x01000193);
    other = Math.imul(other + word, 0x85ebca6b);
    other ^= other >>> 15;
  }
  return [one >>> 0, other >>> 0];
}

/**
 * The words of a build id, which Pyodide writes as 64 hexadecimal digits.
 * @param {string} id
 */
const idWords = (id) => (id.match(/.{8}/g) ?? []).map((digits) => Number.parseInt(digits, 16));

/**
 * Finds the pages of a memory that are not all zeros.
 * @param {Uint8Array} memory
 * @returns {Set<number>}
 */
export function usedPages(memory) {
  const words = new BigUint64Array(memory.buffer, memory.byteOffset, memory.length / 8);
  const used = new Set();
  for (let page = 0; page * PAGE < memory.length; page++) {
    const end = ((page + 1) * PAGE) / 8;
    for (let index = (page * PAGE) / 8; index < end; index++) {
      if (words[index]) {
        used.add(page);
        break;
      }
    }
  }
  return used;
}

/** Sizes of what is allocated to be cleared: whatever holds a page can be had as some of these. */
const CLEARED_BYTES = [65_536, 2 * PAGE];

/**
 * Has memory that was freed hold zeros, so that it takes no place in a snapshot, nor in a memory that
 * is made of it.
 * @param {any} module of Emscripten
 */
export function clearFree(module) {
  const top = module.HEAPU32[module._emscripten_get_sbrk_ptr() >>> 2];
  /** @type {number[]} */
  const taken = [];
  for (const size of CLEARED_BYTES) {
    while (module.HEAPU8.length - top >= size) {
      const place = module._malloc(size);
      if (place) taken.push(place);
      if (!place || place + size > top) break;
      module.HEAPU8.fill(0, place, place + size);
    }
  }
  for (const place of taken) module._free(place);
}

/**
 * Packs what Pyodide's `makeMemorySnapshot` returns.
 * @param {Uint8Array} raw
 * @param {Set<number>} fresh pages that an interpreter uses before it is restored: these are
 *   stored even if they are zeros
 * @param {string} buildId
 * @param {Uint8Array} archive
 * @param {Uint32Array} places
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function packSnapshot(raw, fresh, buildId, archive, places) {
  const ownHeader = raw.subarray(0, new Uint32Array(raw.buffer, raw.byteOffset, 2)[1]);
  const memory = raw.slice(ownHeader.length);
  const used = [...new Set([...usedPages(memory), ...fresh])].sort((a, b) => a - b);
  /** @type {number[]} */
  const runs = [];
  for (const page of used) {
    const count = runs.at(-1);
    if (count !== undefined && /** @type {number} */ (runs.at(-2)) + count === page) {
      runs[runs.length - 1] = count + 1;
    } else runs.push(page, 1);
  }
  const start = 4 * (HEADER_WORDS + runs.length + places.length);
  const bytes = new Uint8Array(start + ownHeader.length + used.length * PAGE);
  const words = new Uint32Array(bytes.buffer, 0, start / 4);
  words.set([MAGIC, FORMAT, bytes.length, ...idWords(buildId), ...checksum(archive)]);
  words.set([memory.length / PAGE, ownHeader.length, runs.length / 2, places.length], CHECKED_WORD);
  words.set(runs, HEADER_WORDS);
  words.set(places, HEADER_WORDS + runs.length);
  bytes.set(ownHeader, start);
  let place = start + ownHeader.length;
  for (const [first, count] of runsIn(runs)) {
    bytes.set(memory.subarray(first * PAGE, (first + count) * PAGE), place);
    place += count * PAGE;
  }
  words.set(checksum(bytes.subarray(4 * CHECKED_WORD)), CHECKSUM_WORD);
  return bytes;
}

/**
 * @param {ArrayLike<number>} runs
 * @returns {Generator<[number, number]>}
 */
function* runsIn(runs) {
  for (let index = 0; index < runs.length; index += 2) {
    yield [/** @type {number} */ (runs[index]), /** @type {number} */ (runs[index + 1])];
  }
}

/** @param {Uint8Array} bytes */
function snapshotHeader(bytes) {
  if (bytes.length < 4 * HEADER_WORDS) throw new Error("it is cut short");
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, HEADER_WORDS);
  if (words[0] !== MAGIC) throw new Error("it is no snapshot");
  if (words[1] !== FORMAT) throw new Error(`it has form ${words[1]}, not ${FORMAT}`);
  return /** @type {number[]} */ ([...words]);
}

/**
 * Collects a snapshot that comes in pieces.
 * @param {AsyncIterable<Uint8Array>} pieces
 * @param {(length: number) => Uint8Array} allocate
 * @returns {Promise<Uint8Array>} what was allocated
 * @throws {Error} saying what is wrong with it
 */
export async function collectSnapshot(pieces, allocate) {
  /** @type {Uint8Array} */
  let start = new Uint8Array(0);
  let whole = start;
  let length = 0;
  for await (let piece of pieces) {
    if (!whole.length) {
      const joined = new Uint8Array(start.length + piece.length);
      joined.set(start);
      joined.set(piece, start.length);
      start = piece = joined;
      if (start.length < 4 * HEADER_WORDS) continue;
      whole = allocate(/** @type {number} */ (snapshotHeader(start)[2]));
    }
    if (length + piece.length > whole.length) throw new Error("it is longer than it says");
    whole.set(piece, length);
    length += piece.length;
  }
  if (!length || length < whole.length) throw new Error("it is cut short");
  return whole;
}

/**
 * Checks that nothing of a snapshot has changed.
 * @param {Uint8Array} bytes
 * @throws {Error}
 */
export function verifySnapshot(bytes) {
  const words = snapshotHeader(bytes);
  const found = checksum(bytes.subarray(4 * CHECKED_WORD));
  if (found.some((word, index) => word !== words[CHECKSUM_WORD + index]))
    throw new Error("it is damaged");
}

/**
 * Checks that a snapshot was made of the same parts that are here.
 * @param {Uint8Array} bytes
 * @param {string} buildId
 * @param {Uint8Array} archive
 * @throws {Error} saying which part differs
 */
export function matchSnapshot(bytes, buildId, archive) {
  const words = snapshotHeader(bytes);
  const made = (/** @type {number} */ from, /** @type {number[]} */ parts) =>
    parts.every((part, index) => words[from + index] === part);
  if (!made(3, idWords(buildId))) throw new Error("it belongs to another build of Pyodide");
  if (!made(11, checksum(archive))) throw new Error("it belongs to another version of pyworkers");
}

/**
 * Where the parts of a snapshot are that have no fixed place.
 * @param {Uint8Array} bytes
 */
function partsOf(bytes) {
  const words = snapshotHeader(bytes);
  const [memory, header, runs, places] = /** @type {[number, number, number, number]} */ (
    words.slice(CHECKED_WORD, HEADER_WORDS)
  );
  const wordsAt = (/** @type {number} */ start, /** @type {number} */ count) =>
    new Uint32Array(bytes.buffer, bytes.byteOffset + 4 * start, count);
  const placesStart = HEADER_WORDS + 2 * runs;
  const headerStart = 4 * (placesStart + places);
  return {
    length: memory * PAGE,
    runs: wordsAt(HEADER_WORDS, 2 * runs),
    places: wordsAt(placesStart, places),
    header: bytes.subarray(headerStart, headerStart + header),
    pages: bytes.subarray(headerStart + header),
  };
}

/**
 * Pyodide's own header, followed by no memory: it restores the rest of what it knows.
 * @param {Uint8Array} bytes
 * @returns {Uint8Array} a copy, as it is going to be decoded and so must not be shared memory
 */
export const pyodideHeader = (bytes) => partsOf(bytes).header.slice();

/**
 * @param {Uint8Array} bytes
 * @returns {Uint32Array} for `link`
 */
export const snapshotPlaces = (bytes) => partsOf(bytes).places;

/**
 * Writes a snapshot into the memory of a module that has been instantiated and not run.
 * @param {Uint8Array} bytes
 * @param {any} module of Emscripten
 */
export function restoreSnapshot(bytes, module) {
  const { length, runs, pages } = partsOf(bytes);
  if (module.HEAPU8.length < length && !module.growMemory(length)) {
    throw new Error(`there is no memory for its ${length} bytes`);
  }
  let place = 0;
  for (const [first, count] of runsIn(runs)) {
    module.HEAPU8.set(pages.subarray(place, place + count * PAGE), first * PAGE);
    place += count * PAGE;
  }
}
