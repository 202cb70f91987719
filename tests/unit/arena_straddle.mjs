/**
 * Two threads' views of primitives that begin before the end of one view, and go on behind it:
 * `node arena_straddle.mjs SEED`; nothing here is random. Prints, as JSON, for each primitive and
 * each number of its bytes that are within that view, what was wrong.
 */

import { Arena, arenaMemory } from "../../js_shim/arena.mjs";
import { RLock, Semaphore } from "../../js_shim/locks.mjs";
import { RWLock } from "../../js_shim/rwlocks.mjs";

const BLOCK = 16;
const HEAD = 16;

/** What is done by a worker, and whether the hub then sees it. @type {Record<string, any>} */
const PRIMITIVES = {
  RLock: {
    Type: RLock,
    size: 32,
    use: (/** @type {RLock} */ hub, /** @type {RLock} */ worker) => [
      worker.attempt(0) === 1,
      hub.owner() === 5,
      worker.attempt(0) === 1,
      hub.statistics().depth === 2,
      worker.releaseOnce() && worker.releaseOnce(),
      hub.owner() === -1,
      hub.attempt(0) === 1,
    ],
  },
  Semaphore: {
    Type: Semaphore,
    size: 32,
    use: (/** @type {Semaphore} */ hub, /** @type {Semaphore} */ worker) => {
      worker.initialize(1, 2);
      return [
        hub.statistics().limit === 2,
        hub.release(1),
        !hub.release(1),
        worker.attempt(0) === 1,
        worker.attempt(0) === 1,
        hub.attempt(0) === 0,
      ];
    },
  },
  RWLock: {
    Type: RWLock,
    size: 48 + 1024,
    use: (/** @type {RWLock} */ hub, /** @type {RWLock} */ worker) => [
      worker.reading.attempt(0) === 1,
      hub.writing.attempt(0) === 0,
      worker.reading.release(),
      hub.writing.attempt(0) === 1,
      worker.writing.attempt(0) === 0,
    ],
  },
};

/**
 * @param {any} primitive
 * @param {number} within so many of its bytes the worker's view reaches
 */
function tried({ Type, size, use }, within) {
  const memory = arenaMemory();
  const hub = new Arena(memory, 0, true);
  new Arena(memory, 3, true).sit(); // so that the worker does not look beyond its view for that
  const worker = new Arena(memory, 5, true);
  const first = hub.allocate(BLOCK, 0);
  hub.allocate(worker.whole.length - within - HEAD - first - BLOCK - HEAD, 0);
  const offset = hub.allocate(size, 0);
  if (offset + within !== worker.whole.length) throw new Error(`it lies at ${offset}`);
  hub.bytes(offset, size).fill(0);
  try {
    const done = use(new Type(hub, offset, undefined), new Type(worker, offset, undefined));
    return done.every(Boolean) ? undefined : done;
  } catch (error) {
    return String(error);
  }
}

const wrong = [];
for (const [name, primitive] of Object.entries(PRIMITIVES)) {
  for (let within = BLOCK; within < primitive.size; within += BLOCK) {
    const found = tried(primitive, within);
    if (found) wrong.push([name, within, found]);
  }
}
console.log(JSON.stringify(wrong));
