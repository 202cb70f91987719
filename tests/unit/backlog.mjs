/**
 * A worker says more than its ring holds, and then runs one task that says nothing, which only
 * computes or only sleeps, while the hub reads on another thread: `node backlog.mjs SEED`; nothing
 * here is random. Prints, as JSON, how many frames the hub got before that task ended, by what the
 * task did.
 */

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Arena, arenaMemory, HUB } from "../../js_shim/arena.mjs";
import { HEADER_BYTES } from "../../js_shim/protocol.mjs";
import { bellMemory, channelMemory, Doorbell } from "../../js_shim/ring.mjs";
import { RingLink } from "../../js_shim/ring_link.mjs";

const PEER = 1;
const TASK = 7;
const SIGNAL = 50;
const INBOX_BYTES = 262_144;
const PAYLOAD_BYTES = 49_152;
const FRAMES = 40;
const PATIENCE_MS = 10_000;
const LONG_MS = 60_000;

/**
 * @param {"hub" | "worker"} end
 * @param {{memory: SharedArrayBuffer, hub: SharedArrayBuffer, arena: WebAssembly.Memory}} channel
 */
function open(end, { memory, hub, arena }) {
  const heap = new Uint8Array(2 * INBOX_BYTES);
  const bell = new Doorbell(end === "hub" ? hub : memory);
  const shared = new Arena(arena, end === "hub" ? HUB : PEER, true);
  const link = new RingLink(() => heap, hub, bell, end, shared);
  link.open(PEER, memory);
  link.configure(0, INBOX_BYTES, INBOX_BYTES);
  return link;
}

/** @param {"computes" | "sleeps"} task */
async function received(task) {
  const channel = { memory: channelMemory(), hub: bellMemory(), arena: arenaMemory() };
  const link = open("hub", channel);
  const worker = new Worker(new URL(import.meta.url), { workerData: { channel, task } });
  const ended = new Promise((resolve, reject) => {
    worker.on("exit", resolve);
    worker.on("error", reject);
  });
  await new Promise((resolve) => worker.once("message", resolve));
  let bytes = 0;
  const late = performance.now() + PATIENCE_MS;
  while (bytes < FRAMES * (HEADER_BYTES + PAYLOAD_BYTES) && performance.now() < late) {
    bytes += link.receive(100);
  }
  link.interrupt(PEER, TASK);
  await ended;
  return bytes / (HEADER_BYTES + PAYLOAD_BYTES);
}

if (isMainThread) {
  const found = { computes: await received("computes"), sleeps: await received("sleeps") };
  console.log(JSON.stringify({ said: FRAMES, ...found }));
} else {
  const { channel, task } = workerData;
  const link = open("worker", channel);
  const signals = link.signals(PEER, SIGNAL);
  for (let i = 0; i < FRAMES; i++) link.output(PEER, 1, new Uint8Array(PAYLOAD_BYTES));
  parentPort?.postMessage(null);
  if (task === "sleeps") link.pause(PEER, LONG_MS);
  else while (signals[0] === 0);
}
