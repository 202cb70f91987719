/**
 * A thread looks at a region again and again while another one grows it: `node arena_growth.mjs
 * PAGES SEED`; nothing here is random. Prints, as JSON, how often it looked, and how often its two
 * views did not reach equally far.
 */

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Arena, arenaMemory } from "../../js_shim/arena.mjs";

const PAGE_BYTES = 65_536;

if (isMainThread) {
  const pages = Number(process.argv[2]);
  const memory = arenaMemory();
  const end = memory.buffer.byteLength + pages * PAGE_BYTES;
  const worker = new Worker(new URL(import.meta.url), { workerData: { memory, end } });
  await new Promise((resolve) => worker.once("message", resolve));
  worker.once("message", (told) => console.log(JSON.stringify(told)));
  for (let page = 0; page < pages; page++) memory.grow(1);
} else {
  const { memory, end } = workerData;
  parentPort?.postMessage(null);
  let looks = 0;
  let different = 0;
  for (let known = 0; known < end; looks++) {
    const { words, whole } = new Arena(memory, 1, true);
    if (words.byteLength !== whole.byteLength) different++;
    known = whole.byteLength;
  }
  parentPort?.postMessage({ looks, different });
}
