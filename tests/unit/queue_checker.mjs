/**
 * Explores the ways in which threads can take turns at one queue: `node queue_checker.mjs LIMIT
 * SEED [SCENE]`.
 *
 * With a LIMIT of 0, all ways there are, in the scenes whose states a machine counts in seconds: two
 * threads and three items, in a ring that goes on at its beginning; two producers and a consumer; a
 * queue that is closed; who waits until all is done with; a block, and its producer's end. With a
 * LIMIT, so many states of each other scene, which chance finds, others in each run: three threads
 * of which one can end at any moment, or of which two wait for the other, have from 100,000 states
 * to more than a million. With a SCENE, that one, as far as the LIMIT.
 *
 * Owns the scenes, and what has to be true in them; `queue_explorer.mjs` takes the steps. Prints, as
 * JSON, how many states there were, and all that went wrong with the steps to it.
 */

import { Consumer } from "../../js_shim/queues.mjs";
import { explored, Wrong } from "./queue_explorer.mjs";

/**
 * @typedef {import("./queue_explorer.mjs").Explorer} Explorer
 * @typedef {import("./queue_explorer.mjs").Agent} Agent
 */

/** @param {any[]} told lists of bytes */
const sorted = (told) => told.flat().sort((a, b) => a - b);

/** @param {any} found @param {any} expected */
function same(found, expected) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Wrong(`${JSON.stringify(found)} where ${JSON.stringify(expected)} was expected`);
  }
}

/** @param {Explorer} explorer nothing must be left but the queue and the seats */
function noBlocks({ hub, queue, memory }) {
  const consumer = new Consumer(hub, queue, undefined, () => new Uint8Array(0));
  consumer.dispose();
  same(hub.statistics().blocks, 2);
  const words = new Int32Array(memory.buffer);
  return words[queue / 4];
}

/** Takes until something comes that ends it. */
function takeAll(/** @type {any} */ tools, /** @type {number} */ most = 0) {
  const all = [];
  for (;;) {
    const got = tools.get(most);
    if (got === "end") return all;
    all.push(...got);
  }
}

/** @type {Record<string, any>} */
const SCENES = {
  "one producer, one consumer, a ring that is too small": {
    capacity: 32,
    agents: [
      (/** @type {any} */ t) => t.put([1, 12], [2, 12], [3, 9]),
      (/** @type {any} */ t) => [t.get(), t.get(), t.get()].flat(),
    ],
    check: (/** @type {any} */ _, /** @type {Agent[]} */ [, consumer]) =>
      same(consumer.told, [1, 2, 3]),
  },
  "two producers, one consumer": {
    capacity: 64,
    agents: [
      (/** @type {any} */ t) => t.put([1, 5]),
      (/** @type {any} */ t) => t.put([2, 5]),
      (/** @type {any} */ t) => [t.get(), t.get()].flat(),
    ],
    check: (/** @type {any} */ _, /** @type {Agent[]} */ [, , consumer]) =>
      same(sorted(consumer.told), [1, 2]),
  },
  "one producer, two consumers, a maxsize of one": {
    isSampled: true,
    capacity: 64,
    maxsize: 1,
    agents: [
      (/** @type {any} */ t) => t.put([1, 5], [2, 5]),
      (/** @type {any} */ t) => t.get(),
      (/** @type {any} */ t) => t.get(),
    ],
    check: (/** @type {any} */ _, /** @type {Agent[]} */ [, one_, two]) =>
      same(sorted([one_.told, two.told]), [1, 2]),
  },
  "a queue is closed while something is put and taken": {
    capacity: 64,
    agents: [
      (/** @type {any} */ t) => t.put([1, 5]),
      (/** @type {any} */ t) => takeAll(t),
      (/** @type {any} */ t) => t.close(),
    ],
    check: (/** @type {any} */ _, /** @type {Agent[]} */ [producer, consumer]) =>
      same(consumer.told, [1].slice(0, producer.told)),
  },
  "a queue is closed while two items are put and taken": {
    isSampled: true,
    capacity: 64,
    agents: [
      (/** @type {any} */ t) => t.put([1, 5], [2, 5]),
      (/** @type {any} */ t) => takeAll(t),
      (/** @type {any} */ t) => t.close(),
    ],
    // What was put was taken, and what was not was refused.
    check: (/** @type {any} */ _, /** @type {Agent[]} */ [producer, consumer]) =>
      same(consumer.told, [1, 2].slice(0, producer.told)),
  },
  "items are done with while somebody waits for that": {
    capacity: 64,
    agents: [
      (/** @type {any} */ t) => t.put([1, 5]) && t.join(),
      (/** @type {any} */ t) => t.get() && t.taskDone(),
    ],
    check: (/** @type {any} */ _, /** @type {Agent[]} */ [joiner, consumer]) => {
      same([joiner.told, consumer.told], [1, true]);
    },
  },
  "a producer ends at any moment": {
    isSampled: true,
    capacity: 32,
    deaths: 1,
    agents: [
      (/** @type {any} */ t) => t.put([1, 9]),
      (/** @type {any} */ t) => t.put([3, 9]),
      (/** @type {any} */ t) => t.get(),
    ],
    check: (/** @type {Explorer} */ e, /** @type {Agent[]} */ [one_, two, consumer]) => {
      if (!one_.isDead) return;
      same(two.told ?? 1, 1);
      if (consumer.told && ![1, 2, 3].includes(consumer.told[0])) throw new Wrong("another item");
      noBlocks(e);
    },
  },
  "a consumer ends at any moment": {
    isSampled: true,
    capacity: 32,
    deaths: 1,
    agents: [
      (/** @type {any} */ t) => t.put([1, 9], [2, 12], [3, 9]),
      (/** @type {any} */ t) => t.get(),
      (/** @type {any} */ t) => [t.get(), t.get()].flat(),
    ],
    check: (/** @type {any} */ _, /** @type {Agent[]} */ agents) => {
      const told = agents.slice(1).flatMap((agent) => agent.told ?? []);
      same(new Set(told).size, told.length);
    },
  },
  "a block": {
    capacity: 32,
    agents: [(/** @type {any} */ t) => t.putBlock(7), (/** @type {any} */ t) => t.get()],
    check: (/** @type {Explorer} */ e, /** @type {Agent[]} */ [, consumer]) => {
      same(consumer.told, [7]);
      noBlocks(e);
    },
  },
  "a block whose producer has ended since": {
    capacity: 32,
    deaths: 1,
    endsLater: true,
    agents: [(/** @type {any} */ t) => t.putBlock(7), (/** @type {any} */ t) => t.get()],
    check: (/** @type {Explorer} */ e, /** @type {Agent[]} */ [producer, consumer]) => {
      if (producer.told === 1 && !consumer.isDead) same(consumer.told, [7]);
      noBlocks(e);
    },
  },
  "a block, and an end at any moment": {
    isSampled: true,
    capacity: 32,
    deaths: 2,
    agents: [
      (/** @type {any} */ t) => t.putBlock(7),
      (/** @type {any} */ t) => t.get(),
      (/** @type {any} */ t) => t.tryPut(8, 5),
    ],
    check: (/** @type {Explorer} */ e, /** @type {Agent[]} */ [, consumer]) => {
      if (consumer.told && ![7, 8].includes(consumer.told[0])) throw new Wrong("another item");
      noBlocks(e);
    },
  },
};

const [limit, seed] = process.argv.slice(2, 4).map(Number);
const only = process.argv[4];
/** @type {Record<string, unknown>} */
const found = {};
for (const [name, scene] of Object.entries(SCENES)) {
  if (only ? !name.includes(only) : Boolean(scene.isSampled) !== limit > 0) continue;
  found[name] = explored(scene, limit || Number.POSITIVE_INFINITY, seed);
}
console.log(JSON.stringify(found));
