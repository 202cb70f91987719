/**
 * What the shim offers to the Python of a hub.
 *
 * Owns the detection of what the platform can do, and a hub's link and broker. Knows nothing of
 * pools: Python numbers the workers and decides.
 */

import { Arena, arenaMemory, HUB } from "./arena.mjs";
import { fetchAssets, inNode } from "./assets.mjs";
import { Broker, RemoteBroker } from "./broker.mjs";
import { Cells } from "./cells.mjs";
import { Twin } from "./lending.mjs";
import { PortLink } from "./port_link.mjs";
import { PROTOCOL_VERSION } from "./protocol.mjs";
import { bellMemory, canWaitAsync, channelMemory, Doorbell, isOpen } from "./ring.mjs";
import { RingLink } from "./ring_link.mjs";
import { listenForStop } from "./stop.mjs";
import { primitive } from "./sync.mjs";

/** @param {() => unknown} probe */
function works(probe) {
  try {
    return probe() !== false;
  } catch {
    return false;
  }
}

/**
 * What this thread can do, tried out and not guessed from names: WebKitGTK, for one, calls a
 * page isolated and has no SharedArrayBuffer.
 */
function detect() {
  const global = /** @type {any} */ (globalThis);
  const sharedMemory = works(() => new SharedArrayBuffer(8));
  const words = () => new Int32Array(new SharedArrayBuffer(8));
  return {
    cross_origin_isolated: global.crossOriginIsolated === true,
    shared_memory: sharedMemory,
    atomics: typeof Atomics === "object",
    wait_async: canWaitAsync,
    blocking_wait: sharedMemory && works(() => Atomics.wait(words(), 0, 1, 0)),
    jspi: typeof global.WebAssembly?.Suspending === "function",
    workers: inNode || typeof global.Worker === "function",
    nested: typeof global.WorkerGlobalScope === "function",
    offscreen_canvas: typeof global.OffscreenCanvas === "function",
    node: inNode,
    cores: inNode
      ? global.process.getBuiltinModule("node:os").availableParallelism()
      : global.navigator?.hardwareConcurrency || 1,
    memory: inNode
      ? global.process.getBuiltinModule("node:os").totalmem() / 2 ** 30
      : (global.navigator?.deviceMemory ?? 0),
  };
}

/** A hub's link to its workers, the broker that makes them, and the memory that they share. */
class Hub {
  /**
   * @param {any} pyodide
   * @param {"shared" | "transfer"} mode
   * @param {boolean} canBlock
   * @param {import("./broker.mjs").BrokerLike} broker
   */
  constructor(pyodide, mode, canBlock, broker) {
    const heap = () => pyodide._module.HEAPU8;
    this.canSwitchStacks = pyodide._module.jspiSupported === true;
    this.broker = broker;
    this.Cells = Cells;
    this.primitive = primitive;
    /** @type {Arena | undefined} */
    this.arena = undefined;
    if (mode === "shared") {
      const bell = bellMemory();
      this.arena = new Arena(arenaMemory(), HUB, canBlock);
      this.link = new RingLink(heap, bell, new Doorbell(bell), "hub", this.arena);
    } else this.link = new PortLink(heap);
    const { link } = this;
    // One broker serves the hubs of both modes; each knows its own workers.
    const { ondied } = broker;
    broker.ondied = (peer, reason) => {
      ondied(peer, reason);
      if (link instanceof RingLink) link.ownBell.told();
      else link.bury(peer, reason);
    };
    /** @type {Map<number, SharedArrayBuffer>} */
    this.channels = new Map();
    /** @type {Set<SharedArrayBuffer>} channels of workers that were ended and may still run */
    this.ending = new Set();
    /** @type {{offset: number, ending: SharedArrayBuffer[]}[]} to be freed once those have ended */
    this.doomed = [];
  }

  /**
   * Opens a channel and asks for a worker at its other end.
   * @param {number} peer
   * @param {string} name
   * @param {Uint8Array} archive zip of the Python packages that the worker starts from
   * @param {number} [fork] number of the thread from whose memory it shall start, if that is there
   * @param {Uint8Array} [setup] makes it such a thread: what it sets up
   */
  spawn(peer, name, archive, fork, setup) {
    const { link, broker } = this;
    if (link instanceof RingLink) {
      const memory = channelMemory();
      this.channels.set(peer, memory);
      const { port1, port2 } = new MessageChannel();
      const channel = { memory, hub: link.hub, arena: link.arena.memory, port: port2 };
      link.open(peer, memory, port1);
      broker.spawn({ peer, name, channel, archive, fork, setup });
    } else {
      const { port1, port2 } = new MessageChannel();
      link.open(peer, port1);
      broker.spawn({ peer, name, channel: { port: port2 }, archive, fork, setup });
    }
  }

  /**
   * Calls Python back once all is done that is going on, and so that it may switch stacks.
   * @param {any} callback a Python function that is called again and again
   */
  soon(callback) {
    queueMicrotask(this.canSwitchStacks ? () => callback.callPromising() : () => callback());
  }

  /**
   * Ends a worker and closes its channel.
   * @param {number} peer
   * @param {boolean} isIdle whether it has nothing to do; else it is ended at once
   */
  terminate(peer, isIdle) {
    if (isIdle) this.broker.retire(peer);
    else this.broker.terminate(peer);
    this.link.close(peer);
    const memory = this.channels.get(peer);
    if (!memory) return;
    this.channels.delete(peer);
    this.ending.add(memory);
  }

  /**
   * Frees bytes of the hub in the arena, once no thread can write there any more that was ended.
   * @param {number} offset
   */
  free(offset) {
    this.#bury();
    if (this.ending.size === 0) this.arena?.free(offset);
    else this.doomed.push({ offset, ending: [...this.ending] });
  }

  /** How much of the arena is in use. */
  statistics() {
    this.#bury();
    return this.arena?.statistics();
  }

  #bury() {
    for (const memory of this.ending) if (!isOpen(memory)) this.ending.delete(memory);
    this.doomed = this.doomed.filter(({ offset, ending }) => {
      if (ending.some(isOpen)) return true;
      this.arena?.free(offset);
      return false;
    });
  }
}

/** What Python takes from here. */
export const shim = Object.freeze({
  detect,
  Hub,
  Cells,
  Twin,
  startBroker,
  listenForStop,
  PROTOCOL_VERSION,
});

/**
 * A broker for a hub that pyworkers did not start itself.
 * @param {import("./assets.mjs").Site} site
 * @param {string} workerURL of a script that runs worker.mjs
 * @param {boolean} separate whether it gets a thread of its own: in browsers, so that a page's
 *   frames do not wait for the compiler, and a blocked worker can still have workers
 * @returns {{broker: import("./broker.mjs").BrokerLike, ready: Promise<unknown>}} blocking is safe
 *   once `ready` has resolved: before it, the broker could not start workers meanwhile
 */
function startBroker(site, workerURL, separate) {
  if (!separate) {
    const broker = new Broker(workerURL, () => fetchAssets(site));
    return { broker, ready: broker.assets() };
  }
  const worker = new Worker(workerURL, { type: "module", name: "pyworkers broker" });
  const { port1, port2 } = new MessageChannel();
  const broker = new RemoteBroker(port1);
  const ready = new Promise((resolve, reject) => {
    // A greeting from a nested worker's top-level code comes before it can hear its creator;
    // an answer to a message proves that it does.
    worker.onmessage = () => {
      worker.onerror = null;
      resolve(undefined);
    };
    worker.onerror = ({ message }) => {
      // What the page's policy refuses, for one, comes without a message.
      const reason = `the broker did not start: ${message || "its script was not loaded"}`;
      reject(new Error(reason));
      broker.lose(reason);
    };
  });
  // Who only awaits tasks never asks for it, and hears of it by them.
  ready.catch(() => {});
  const init = { kind: "boot", version: PROTOCOL_VERSION, role: "broker", site, workerURL };
  worker.postMessage({ ...init, port: port2 }, [port2]);
  return { broker, ready };
}
