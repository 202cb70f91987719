/**
 * Plays scenes with primitives in shared memory whose threads are all in this one, for
 * `test_sync_scenes.py`: each returns what came of it.
 */

import { Arena, arenaMemory, HUB } from "../../js_shim/arena.mjs";
import { Channels } from "../../js_shim/channels.mjs";
import { Semaphore } from "../../js_shim/locks.mjs";
import { RING } from "../../js_shim/queue_ring.mjs";
import { Consumer, Producer } from "../../js_shim/queues.mjs";
import { MessageChannelSync } from "../../js_shim/state.mjs";
import { answer } from "./json_lines.mjs";

const BOX_BYTES = 2_048;

/** A hub, and workers with the numbers 1 and 2. */
function threads() {
  const memory = arenaMemory();
  const [hub, one, two] = [HUB, 1, 2].map((peer) => new Arena(memory, peer, true));
  one.sit();
  return { hub, one, two };
}

/** @param {Arena} arena @param {number} bytes */
function zeros(arena, bytes) {
  const offset = arena.allocate(bytes, HUB);
  arena.bytes(offset, bytes).fill(0);
  return offset;
}

/** @param {any} kind @param {Arena} arena @param {number} queue */
function end(kind, arena, queue) {
  const box = new Uint8Array(BOX_BYTES);
  const it = new kind(arena, queue, undefined, () => box);
  it.configure(0, BOX_BYTES);
  return { it, words: new DataView(box.buffer) };
}

/** A worker is about to free a block that it has put, when another is in its place. */
function putBlock() {
  const { hub, one } = threads();
  const queue = zeros(hub, RING + 1_024);
  const { it: producer, words } = end(Producer, one, queue);
  const { it: consumer, words: taken } = end(Consumer, hub, queue);
  producer.initialize(1_024, 0);
  const put = () => {
    const block = one.allocate(20_000, 1);
    words.setUint32(0, 0x80000004, true);
    words.setUint32(4, block, true);
    return { block, count: producer.putMany(8) };
  };
  const first = put();
  consumer.takeOne();
  hub.free(taken.getUint32(0, true));
  const again = hub.allocate(20_000, 1);
  producer.drop(first.block);
  const isKept = hub.allocate(20_000, HUB) !== again;
  producer.close();
  one.free(again);
  const second = put();
  producer.drop(second.block);
  return {
    put: [first.count, second.count],
    inItsPlace: [again, second.block].map((block) => block === first.block),
    isKept,
    isFreed: one.allocate(20_000, 1) === second.block,
  };
}

/** Somebody has waited for so long that others let it go first, and has ended then. */
function hungryHasEnded() {
  const { hub, one, two } = threads();
  const place = zeros(hub, 32);
  const [ours, theirs, others] = [hub, one, two].map((arena) => new Semaphore(arena, place));
  ours.initialize(1, -1);
  ours.attempt(0);
  theirs.enter();
  theirs.attempt(5);
  ours.release(1);
  const whileItLives = others.attempt(0);
  hub.sweep(1);
  return { whileItLives, afterwards: others.attempt(0) };
}

/** Two ends of channels between which each message is posted. */
function ends() {
  /** @type {any[]} */
  const ends = [];
  const { port1, port2 } = new MessageChannel();
  for (const port of [port1, port2]) {
    const asked = new Map();
    const post = (/** @type {any} */ message) => port.postMessage(message);
    const line = {
      post,
      ask: (/** @type {any} */ message) =>
        new Promise((resolve, reject) => {
          const id = asked.size + 1;
          asked.set(id, { resolve, reject });
          post({ ...message, id });
        }),
      error: (/** @type {string} */ name, /** @type {string} */ text) =>
        Object.assign(new Error(text), { name }),
    };
    const channels = new Channels(/** @type {any} */ (line));
    port.onmessage = ({ data }) => {
      if (data.kind === "answer") asked.get(data.id).resolve(data.payload);
      else if (data.kind === "refuse") asked.get(data.id).reject(new Error(data.message));
      else channels.heard(data);
    };
    ends.push({ channels, close: () => port.close() });
  }
  return ends;
}

/** One side of two sets a key before it hears of the other, which is there for longer. */
async function setAtOnce() {
  const [left, right] = ends();
  const first = new MessageChannelSync(left.channels.get("state"));
  first.set("first", 1);
  await new Promise((resolve) => setTimeout(resolve, 20)); // its greeting is refused
  const second = new MessageChannelSync(right.channels.get("state"));
  second.set("at once", 2);
  await new Promise((resolve) => {
    first.subscribe(null, () => first.keys().length === 3 && resolve(undefined));
    setTimeout(resolve, 5_000); // as it is lost
    second.subscribe("first", () => second.set("later", 3));
  });
  left.close();
  return [first, second].map((side) => side.keys().sort());
}

await answer({ putBlock, hungryHasEnded, setAtOnce });
