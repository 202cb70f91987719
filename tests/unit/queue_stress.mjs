/**
 * Threads pass items through one queue at random: `node queue_stress.mjs ITEMS PRODUCERS CONSUMERS
 * CAPACITY MAXSIZE DEATHS SEED`.
 *
 * Without deaths each producer puts its share of the items, which are numbered, and whose length
 * and bytes follow from their number; some are blocks. With deaths producers and consumers go on
 * until so many threads were terminated in the midst of it, each replaced by a new one. Prints, as
 * JSON, what was put and taken, what was wrong, and what the region then holds.
 */

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Arena, arenaMemory, BROKER, HUB } from "../../js_shim/arena.mjs";
import { RING } from "../../js_shim/queue_ring.mjs";
import { Consumer, ENDED, Producer, TOOK_BLOCK } from "../../js_shim/queues.mjs";
import { randomNumbers } from "../browser/stress/random_numbers.mjs";
import { regionOf } from "./arena_driver.mjs";

const BOX_BYTES = 4_096;
const MOST_INLINE = 200;
/** So many items a producer puts at the most where threads end. */
const MOST_ITEMS = 100_000;
const SLICE_MS = 50;

/** One thread. */
class User {
  /** @param {any} data */
  constructor({ memory, marks, queue, number, seed, share }) {
    this.arena = new Arena(memory, number, true);
    this.marks = marks;
    this.number = number;
    this.share = share;
    this.random = randomNumbers(seed + 7_919 * number);
    this.box = new Uint8Array(BOX_BYTES);
    this.view = new DataView(this.box.buffer);
    this.producer = new Producer(this.arena, queue, undefined, () => this.box);
    this.consumer = new Consumer(this.arena, queue, undefined, () => this.box);
    for (const end of [this.producer, this.consumer]) end.configure(0, BOX_BYTES);
    /** @type {Map<number, number>} the last item of each producer that this one has taken */
    this.last = new Map();
    this.taken = 0;
    this.sum = 0;
    this.wrong = 0;
  }

  /** @param {number} item number of it, among those of its producer */
  lengthOf(item, who = this.number) {
    const kind = (item * 2_654_435_761 + who * 40_503) >>> 16;
    return 8 + (kind % 50 === 0 ? kind % 3_000 : kind % (kind % 5 === 0 ? MOST_INLINE : 20));
  }

  /** @param {DataView} view */
  write(view, at, item, length) {
    view.setUint32(at, this.number, true);
    view.setUint32(at + 4, item, true);
    for (let i = 8; i < length; i++) view.setUint8(at + i, (item + i) & 255);
  }

  /** @param {DataView} view */
  check(view, at, length) {
    const who = view.getUint32(at, true);
    const item = view.getUint32(at + 4, true);
    let isWhole = length === this.lengthOf(item, who);
    for (let i = 8; i < length; i++) isWhole &&= view.getUint8(at + i) === ((item + i) & 255);
    const last = this.last.get(who) ?? -1;
    if (!isWhole || item <= last) this.wrong++;
    this.last.set(who, item);
    this.taken++;
    this.sum += item + 1;
    if (this.marks && Atomics.add(this.marks, who * MOST_ITEMS + item, 1) > 0) this.wrong++;
  }

  /** @returns {Generator<number>} after each batch, how many items were put in all */
  *produce() {
    const { view, arena, producer, random, share } = this;
    for (let next = 0; next < share; ) {
      const batch = 1 + random(4);
      /** @type {number[]} */
      const blocks = [];
      let at = 0;
      for (let item = next; item < Math.min(next + batch, share); item++) {
        const length = this.lengthOf(item);
        if (length <= MOST_INLINE) {
          view.setUint32(at, length, true);
          this.write(view, at + 4, item, length);
          at += 4 + ((length + 3) & ~3);
          continue;
        }
        const offset = arena.allocate(16 + length, this.number);
        blocks.push(offset);
        const bytes = arena.bytes(offset, 16 + length);
        this.write(new DataView(bytes.buffer, bytes.byteOffset + 16, length), 0, item, length);
        view.setUint32(at, 0x80000004, true);
        view.setUint32(at + 4, offset, true);
        at += 8;
      }
      const saved = this.box.slice(0, at);
      for (let done = 0; done < at; ) {
        this.box.set(saved.subarray(done));
        const put = producer.putFor(at - done, true, SLICE_MS, 0);
        if (put === ENDED) return;
        for (let i = 0; i < put; i++) {
          const word = new DataView(saved.buffer).getUint32(done, true);
          done += word >= 0x80000000 ? 8 : 4 + ((word + 3) & ~3);
        }
        next += put;
        yield next;
      }
    }
  }

  /** @returns {Generator<number>} after each batch, how many items were taken */
  *consume() {
    const { view, consumer, random } = this;
    for (;;) {
      const most = random(4);
      const got = consumer.takeFor(most, SLICE_MS, 0);
      if (got === ENDED) return;
      if (got === 0) {
        yield this.taken;
        continue;
      }
      if (most === 0) {
        if (got === TOOK_BLOCK) this.block(view.getUint32(0, true));
        else this.check(view, 0, got - 1);
      } else {
        for (let at = 0; at < got; ) {
          const word = view.getUint32(at, true);
          if (word >= 0x80000000) this.block(view.getUint32(at + 4, true));
          else this.check(view, at + 4, word);
          at += 4 + (((word & 0x7fffffff) + 3) & ~3);
        }
      }
      yield this.taken;
    }
  }

  /** @param {number} offset */
  block(offset) {
    const { arena } = this;
    const length = arena.lengthOf(offset, this.number);
    const bytes = arena.bytes(offset, length);
    this.check(new DataView(bytes.buffer, bytes.byteOffset + 16, length - 16), 0, length - 16);
    arena.free(offset);
  }
}

if (isMainThread) {
  const [items, producers, consumers, capacity, maxsize, deaths, seed] = process.argv
    .slice(2)
    .map(Number);
  const memory = arenaMemory();
  const hub = new Arena(memory, HUB, true);
  const broker = new Arena(memory, BROKER, false);
  const queue = hub.allocate(RING + capacity, HUB);
  hub.bytes(queue, RING).fill(0);
  const box = new Uint8Array(BOX_BYTES);
  const producer = new Producer(hub, queue, undefined, () => box);
  producer.initialize(capacity, maxsize);
  const consumer = new Consumer(hub, queue, undefined, () => box);
  consumer.configure(0, BOX_BYTES);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const most = producers + consumers + deaths + 1;
  /** How often each item was taken, where threads end. */
  const marks = deaths && new Uint8Array(new SharedArrayBuffer(most * MOST_ITEMS));
  const share = deaths ? MOST_ITEMS : items / producers;
  const start = (/** @type {number} */ number, /** @type {boolean} */ produces) => {
    const data = { memory, marks, stop, queue, number, seed, share, produces };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    const ended = new Promise((resolve, reject) => {
      worker.on("message", (message) => message && resolve(message));
      worker.on("error", reject);
    });
    ended.catch(() => {});
    return { number, produces, worker, ended };
  };
  const threads = [];
  for (let i = 0; i < producers + consumers; i++) threads.push(start(i + 1, i < producers));
  const random = randomNumbers(seed);
  for (let death = 0; death < deaths; death++) {
    const victim = random(threads.length);
    const { number, produces, worker, ended } = threads[victim];
    const report = new Promise((resolve) => worker.once("message", resolve));
    await Promise.race([report, ended]);
    const moment = performance.now() + random(2_000) / 1_000;
    while (performance.now() < moment);
    await worker.terminate();
    while (!broker.sweep(number)) await new Promise(setImmediate);
    threads[victim] = start(producers + consumers + 1 + death, produces);
  }
  if (deaths) Atomics.store(stop, 0, 1);
  const told = await Promise.all(
    threads.filter(({ produces }) => produces).map(({ ended }) => ended),
  );
  producer.close();
  told.push(
    ...(await Promise.all(threads.filter(({ produces }) => !produces).map(({ ended }) => ended))),
  );
  const statistics = producer.statistics();
  const left = statistics.depth;
  consumer.dispose();
  hub.free(queue);
  const region = regionOf(memory);
  const marked = marks ? marks.reduce((sum, mark) => sum + mark, 0) : 0;
  console.log(JSON.stringify({ told, left, marked, statistics, region }));
} else {
  const user = new User(workerData);
  const { produces, stop } = workerData;
  let count = 0;
  let rounds = 0;
  for (count of produces ? user.produce() : user.consume()) {
    if (produces && Atomics.load(stop, 0) === 1) break;
    if (++rounds % 200 === 1) parentPort?.postMessage(null);
  }
  const { taken, sum, wrong } = user;
  parentPort?.postMessage({ put: produces ? count : 0, taken, sum, wrong });
}
