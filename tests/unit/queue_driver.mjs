/**
 * Offers `queues.mjs` to `test_queues.py`: one queue, whose two ends are in this thread.
 *
 * An item is given and told as a byte, which fills it, and a length.
 */

import { Arena, arenaMemory, HUB } from "../../js_shim/arena.mjs";
import { RING } from "../../js_shim/queue_ring.mjs";
import { Consumer, ENDED, Producer, TOOK_BLOCK } from "../../js_shim/queues.mjs";
import { answer } from "./json_lines.mjs";

const BOX_BYTES = 2_048;
const box = new Uint8Array(BOX_BYTES);
const view = new DataView(box.buffer);
const arena = new Arena(arenaMemory(), HUB, true);
/** @type {Producer} */
let producer;
/** @type {Consumer} */
let consumer;
let queue = 0;

/** @param {Uint8Array} bytes */
const told = (bytes) => {
  if (bytes.some((byte) => byte !== bytes[0])) throw new Error(`torn: ${bytes}`);
  return [bytes[0] ?? null, bytes.length];
};

/** @param {number} offset */
function opened(offset) {
  const length = arena.lengthOf(offset, HUB);
  const item = told(arena.bytes(offset + 16, length - 16).slice());
  arena.free(offset);
  return item;
}

await answer({
  open: ({ capacity, maxsize }) => {
    if (queue) arena.free(queue);
    queue = arena.allocate(RING + capacity, HUB);
    arena.bytes(queue, RING).fill(0);
    arena.bytes(queue + RING, capacity).fill(0xff);
    producer = new Producer(arena, queue, undefined, () => box);
    producer.initialize(capacity, maxsize);
    consumer = new Consumer(arena, queue, undefined, () => box);
    for (const end of [producer, consumer]) end.configure(0, BOX_BYTES);
  },
  one: ({ items: [[byte, length]] }) => {
    box.fill(byte, 0, length);
    return producer.put(length);
  },
  put: ({ items }) => {
    let at = 0;
    for (const [byte, length] of items) {
      view.setUint32(at, length, true);
      box.fill(byte, at + 4, at + 4 + length);
      at += 4 + ((length + 3) & ~3);
    }
    return producer.putMany(at);
  },
  block: ({ items: [[byte, length]] }) => {
    const offset = arena.allocate(16 + length, HUB);
    arena.bytes(offset + 16, length).fill(byte);
    view.setUint32(0, 0x80000004, true);
    view.setUint32(4, offset, true);
    const put = producer.putMany(8);
    producer.drop(offset);
    return put;
  },
  take: ({ most }) => {
    const got = most === 0 ? consumer.takeOne() : consumer.takeMany(most);
    if (got === ENDED) return "end";
    if (got === 0) return [];
    if (got === TOOK_BLOCK) return [opened(view.getUint32(0, true))];
    if (most === 0) return [told(box.slice(0, got - 1))];
    const items = [];
    for (let at = 0; at < got; ) {
      const word = view.getUint32(at, true);
      const length = word & 0x7fffffff;
      if (word === length) items.push(told(box.slice(at + 4, at + 4 + length)));
      else items.push(opened(view.getUint32(at + 4, true)));
      at += 4 + ((length + 3) & ~3);
    }
    return items;
  },
  close: () => {
    producer.close();
    return producer.statistics();
  },
  blocks: () => arena.statistics().blocks,
});
