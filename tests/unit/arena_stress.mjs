/**
 * Four threads allocate, write, read and free in one region at random:
 * `node arena_stress.mjs ROUNDS DEATHS SEED`.
 *
 * Without deaths each does so many rounds, and hands blocks to the others too. With deaths they go
 * on until so many threads were terminated in the midst of it, each replaced by a new one. Every
 * block is filled with four bytes that no other has at that time. Prints, as JSON, what all threads
 * that came to their end did and saw, and what the region then holds.
 */

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Arena, arenaMemory, BROKER } from "../../js_shim/arena.mjs";
import { randomNumbers } from "../browser/stress/random_numbers.mjs";
import { regionOf } from "./arena_driver.mjs";

const THREADS = 4;
const HELD = 24;
const ROUNDS_PER_REPORT = 50;
/** Words that the threads share beside the region: one to stop, then one parcel for each thread. */
const STOP = 0;
const PARCELS = 1;

/**
 * @param {Buffer} bytes
 * @param {Buffer} mark the four bytes that they repeat
 */
function isWhole(bytes, mark) {
  const start = bytes.subarray(0, 4);
  const isMarked = start.equals(mark.subarray(0, start.length));
  return isMarked && (bytes.length < 5 || bytes.subarray(4).equals(bytes.subarray(0, -4)));
}

/** One thread, and what it holds. */
class User {
  /** @param {{memory: WebAssembly.Memory, shared: Int32Array, number: number, seed: number}} data */
  constructor({ memory, shared, number, seed }) {
    this.arena = new Arena(memory, number, true);
    this.shared = shared;
    this.number = number;
    this.random = randomNumbers(seed + 7_919 * number);
    /** @type {{offset: number, bytes: Buffer, mark: Buffer}[]} */
    this.held = [];
    this.allocated = 0;
    this.freed = 0;
    this.handed = 0;
    this.refused = 0;
    this.foreign = 0;
  }

  /** @returns {number} mostly small, at times some pages, seldom some MiB */
  size() {
    const kind = this.random(1_000);
    if (kind < 900) return this.random(600);
    if (kind < 995) return this.random(20_000);
    return this.random(kind < 999 ? 600_000 : 3_000_000);
  }

  /** @param {number} offset */
  view(offset) {
    const bytes = this.arena.bytes(offset, this.arena.lengthOf(offset, this.number));
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  allocate() {
    const offset = this.arena.allocate(this.size(), this.number);
    if (offset === 0) {
      this.refused++;
      return;
    }
    this.allocated++;
    const bytes = this.view(offset);
    const mark = Buffer.alloc(4);
    mark.writeUInt16LE(this.number, 0);
    mark.writeUInt16LE(this.allocated & 0xffff, 2);
    bytes.fill(mark);
    this.held.push({ offset, bytes, mark });
  }

  /** @returns {number} the offset of something that it now holds no more */
  drop() {
    const [{ offset, bytes, mark }] = this.held.splice(this.random(this.held.length), 1);
    if (!isWhole(bytes, mark)) this.foreign++;
    return offset;
  }

  free() {
    this.arena.free(this.drop());
    this.freed++;
  }

  /** Makes another thread the owner of something, if that one has taken what it was handed. */
  hand() {
    const other = (this.number + this.random(THREADS - 1)) % THREADS;
    if (Atomics.load(this.shared, PARCELS + other) !== 0) return;
    const offset = this.drop();
    this.arena.hand(offset, this.number, other + 1);
    if (Atomics.compareExchange(this.shared, PARCELS + other, 0, offset) === 0) this.handed++;
    else {
      this.arena.hand(offset, other + 1, this.number);
      this.arena.free(offset);
      this.freed++;
    }
  }

  /** Frees what another thread has handed to this one. */
  take() {
    const offset = Atomics.exchange(this.shared, PARCELS + this.number - 1, 0);
    if (offset === 0) return;
    const bytes = this.view(offset);
    if (!isWhole(bytes, Buffer.from(bytes.subarray(0, 4)))) this.foreign++;
    this.arena.free(offset);
    this.freed++;
  }

  /** @param {boolean} hands */
  round(hands) {
    if (hands) this.take();
    if (this.held.length === 0 || (this.held.length < HELD && this.random(2))) this.allocate();
    else if (hands && this.random(8) === 0) this.hand();
    else this.free();
  }

  finish() {
    while (this.held.length > 0) this.free();
    const { allocated, freed, handed, refused, foreign } = this;
    return { allocated, freed, handed, refused, foreign };
  }
}

/** @param {{memory: WebAssembly.Memory, shared: Int32Array, rounds: number, seed: number}} data */
function start(data, /** @type {number} */ number) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { ...data, number } });
  const ended = new Promise((resolve, reject) => {
    worker.on("message", (message) => message && resolve(message));
    worker.on("error", reject);
  });
  ended.catch(() => {});
  return { number, worker, ended };
}

/** @param {Worker} worker */
const report = (worker) => new Promise((resolve) => worker.once("message", resolve));

/**
 * Ends threads, one after the other.
 * @param {ReturnType<typeof start>[]} threads
 * @param {(number: number) => ReturnType<typeof start>} startOne
 */
async function kill(threads, startOne, /** @type {any} */ { arena, deaths, seed }) {
  const random = randomNumbers(seed);
  for (let death = 0; death < deaths; death++) {
    const victim = random(THREADS);
    const { number, worker, ended } = threads[victim];
    await Promise.race([report(worker), ended]);
    const moment = performance.now() + random(1_000) / 1_000;
    while (performance.now() < moment);
    await worker.terminate();
    while (!arena.sweep(number)) await new Promise(setImmediate);
    threads[victim] = startOne(THREADS + 1 + death);
  }
}

if (isMainThread) {
  const [rounds, deaths, seed] = process.argv.slice(2).map(Number);
  const memory = arenaMemory();
  const shared = new Int32Array(new SharedArrayBuffer(4 * (PARCELS + THREADS)));
  const arena = new Arena(memory, BROKER, false);
  const startOne = (/** @type {number} */ number) =>
    start({ memory, shared, rounds: deaths ? Number.POSITIVE_INFINITY : rounds, seed }, number);
  const threads = Array.from({ length: THREADS }, (_, n) => startOne(n + 1));
  await kill(threads, startOne, { arena, deaths, seed });
  if (deaths) Atomics.store(shared, STOP, 1);
  const told = await Promise.all(threads.map(({ ended }) => ended));
  let left = 0;
  for (const offset of shared.subarray(PARCELS)) {
    if (offset === 0) continue;
    arena.free(offset);
    left++;
  }
  console.log(JSON.stringify({ told, left, region: regionOf(memory) }));
} else {
  const user = new User(workerData);
  const { rounds, shared } = workerData;
  const hands = Number.isFinite(rounds);
  for (let round = 0; round < rounds && Atomics.load(shared, STOP) === 0; round++) {
    user.round(hands);
    if (!hands && round % ROUNDS_PER_REPORT === 0) parentPort?.postMessage(null);
  }
  parentPort?.postMessage(user.finish());
}
