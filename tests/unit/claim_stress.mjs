/**
 * A hub sends tasks ahead to a worker on another thread and takes back, at random moments, what
 * the worker has not started, to send it again: `node claim_stress.mjs TASKS SEED`.
 *
 * The bookkeeping is that of a pool's engine. The counters start just below their ends. Prints how
 * many tasks ran never, once and more often, as JSON.
 */

import { isMainThread, Worker, workerData } from "node:worker_threads";
import { Arena, arenaMemory, HUB } from "../../js_shim/arena.mjs";
import { HEADER_BYTES, Kind } from "../../js_shim/protocol.mjs";
import { bellMemory, channelMemory, Doorbell } from "../../js_shim/ring.mjs";
import { RingLink } from "../../js_shim/ring_link.mjs";

const PEER = 1;
const INBOX_BYTES = 262_144;
const WINDOW = 64;

/** The word of a channel where epoch and count stand, as `ring.mjs` lists it. */
const CLAIM = 4;
const EPOCH = 0xfff0;
const COUNT = 0xff00;

/** A task that ends the worker. */
const END = 0xffffffff;

/** One end of the channel. */
class End {
  /**
   * @param {"hub" | "worker"} end
   * @param {{memory: SharedArrayBuffer, hub: SharedArrayBuffer, arena: WebAssembly.Memory}} channel
   */
  constructor(end, { memory, hub, arena }) {
    const heap = new Uint8Array(2 * INBOX_BYTES);
    this.view = new DataView(heap.buffer);
    const bell = new Doorbell(end === "hub" ? hub : memory);
    this.link = new RingLink(
      () => heap,
      hub,
      bell,
      end,
      new Arena(arena, end === "hub" ? HUB : PEER, true),
    );
    this.link.open(PEER, memory);
    this.link.configure(0, INBOX_BYTES, INBOX_BYTES);
    this.used = 0;
  }

  /**
   * @param {number} kind
   * @param {number} id
   * @param {number} epoch
   */
  say(kind, id, epoch) {
    this.view.setUint32(this.used, HEADER_BYTES, true);
    this.view.setUint8(this.used + 4, kind);
    this.view.setUint16(this.used + 6, epoch, true);
    this.view.setUint32(this.used + 8, PEER, true);
    this.view.setUint32(this.used + 12, id, true);
    this.used += HEADER_BYTES;
  }

  flush() {
    if (this.used > 0) this.link.flush(this.used);
    this.used = 0;
  }

  /**
   * @param {number} milliseconds
   * @param {(id: number, epoch: number) => void} heard
   */
  hear(milliseconds, heard) {
    const end = INBOX_BYTES + this.link.receive(milliseconds);
    const frames = [];
    for (let at = INBOX_BYTES; at < end; at += HEADER_BYTES) {
      frames.push([this.view.getUint32(at + 12, true), this.view.getUint16(at + 6, true)]);
    }
    for (const [id, epoch] of frames) heard(id, epoch);
  }
}

/**
 * @param {End} end
 * @param {Uint8Array} runs how often each task ran
 */
function work(end, runs) {
  let isOver = false;
  while (!isOver) {
    end.hear(1_000, (id, epoch) => {
      isOver = id === END;
      const length = end.used;
      end.used = 0;
      if (isOver || !end.link.claim(PEER, length, epoch)) return;
      runs[id]++;
      end.say(Kind.RESULT, id, 0);
    });
    end.flush();
  }
}

/**
 * @param {End} end
 * @param {number} tasks
 * @param {number} seed
 */
function lead(end, tasks, seed) {
  const queue = Array.from({ length: tasks }, (_, id) => id).reverse();
  const held = [];
  let state = seed;
  let epoch = EPOCH;
  let sent = COUNT;
  let recalls = 0;
  let takenBack = 0;
  while (queue.length + held.length > 0) {
    while (queue.length > 0 && held.length < WINDOW) {
      const id = queue.pop();
      held.push(id);
      sent++;
      end.say(Kind.TASK, id, epoch);
    }
    end.flush();
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    for (let spins = state % 1_000; spins > 0; spins--) end.link.ownBell.count();
    if (state >>> 30 === 0) {
      recalls++;
      const total = end.link.recall(PEER);
      epoch = (epoch + 1) & 0xffff;
      const waiting = (sent - total) & 0xffff;
      takenBack += waiting;
      sent -= waiting;
      queue.push(...held.splice(held.length - waiting).reverse());
    }
    end.hear(held.length === WINDOW || queue.length === 0 ? 1_000 : 0, (id) => {
      if (held.shift() !== id) throw new Error(`task ${id} is done out of order`);
    });
  }
  end.say(Kind.TASK, END, epoch);
  end.flush();
  return { recalls, takenBack };
}

if (isMainThread) {
  const [tasks, seed] = process.argv.slice(2).map(Number);
  const channel = { memory: channelMemory(), hub: bellMemory(), arena: arenaMemory() };
  new Int32Array(channel.memory)[CLAIM] = (EPOCH << 16) | COUNT;
  const runs = new Uint8Array(new SharedArrayBuffer(tasks));
  const worker = new Worker(new URL(import.meta.url), { workerData: { channel, runs } });
  const ended = new Promise((resolve, reject) => {
    worker.on("exit", resolve);
    worker.on("error", reject);
  });
  await new Promise((resolve) => worker.on("online", resolve));
  const counts = lead(new End("hub", channel), tasks, seed);
  await ended;
  const ran = [0, 1].map((times) => runs.filter((count) => count === times).length);
  const more = tasks - ran[0] - ran[1];
  console.log(JSON.stringify({ runs: { 0: ran[0], 1: ran[1], more }, ...counts }));
} else {
  work(new End("worker", workerData.channel), workerData.runs);
}
