/**
 * What the shim offers to the Python of a hub.
 *
 * Owns the detection of what the platform can do, and a hub's link and broker. Knows nothing of
 * pools: Python numbers the workers and decides.
 */

import { fetchAssets, inNode } from "./boot.mjs";
import { Broker, RemoteBroker } from "./broker.mjs";
import { PortLink, RingLink } from "./link.mjs";
import { bellMemory, channelMemory, Doorbell } from "./ring.mjs";

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
export function detect() {
  const global = /** @type {any} */ (globalThis);
  const sharedMemory = works(() => new SharedArrayBuffer(8));
  const words = () => new Int32Array(new SharedArrayBuffer(8));
  return {
    cross_origin_isolated: global.crossOriginIsolated === true,
    shared_memory: sharedMemory,
    atomics: typeof Atomics === "object",
    wait_async: typeof global.Atomics?.waitAsync === "function",
    blocking_wait: sharedMemory && works(() => Atomics.wait(words(), 0, 1, 0)),
    jspi: typeof global.WebAssembly?.Suspending === "function",
    workers: inNode || typeof global.Worker === "function",
    nested: typeof global.WorkerGlobalScope === "function",
    offscreen_canvas: typeof global.OffscreenCanvas === "function",
    node: inNode,
    cores: inNode
      ? global.process.getBuiltinModule("node:os").availableParallelism()
      : global.navigator?.hardwareConcurrency || 1,
  };
}

/** A hub's link to its workers, and the broker that makes them. */
export class Hub {
  /**
   * @param {any} pyodide
   * @param {"shared" | "transfer"} mode
   * @param {import("./broker.mjs").BrokerLike} broker
   */
  constructor(pyodide, mode, broker) {
    const heap = () => pyodide._module.HEAPU8;
    this.broker = broker;
    /** @type {SharedArrayBuffer | undefined} */
    this.bellMemory = mode === "shared" ? bellMemory() : undefined;
    this.link = this.bellMemory
      ? new RingLink(heap, this.bellMemory, new Doorbell(this.bellMemory), "hub")
      : new PortLink(heap);
  }

  /**
   * Opens a channel and asks for a worker at its other end.
   * @param {number} peer
   * @param {string} name
   * @param {Uint8Array} archive zip of the Python packages that the worker starts from
   */
  spawn(peer, name, archive) {
    const { link, broker } = this;
    if (link instanceof RingLink) {
      const memory = channelMemory();
      link.open(peer, memory);
      broker.spawn({ peer, name, channel: { memory, hub: link.hub }, archive });
    } else {
      const { port1, port2 } = new MessageChannel();
      link.open(peer, port1);
      broker.ondied = (lost, reason) => link.bury(lost, reason);
      broker.spawn({ peer, name, channel: { port: port2 }, archive });
    }
  }

  /**
   * Ends a worker and closes its channel.
   * @param {number} peer
   */
  terminate(peer) {
    this.broker.terminate(peer);
    this.link.close(peer);
  }
}

/**
 * A broker for a hub that pyworkers did not start itself.
 * @param {import("./boot.mjs").Site} site
 * @param {string} workerURL of a script that runs worker.mjs
 * @param {boolean} separate whether it gets a thread of its own: in browsers, so that a page's
 *   frames do not wait for the compiler, and a blocked worker can still have workers
 * @returns {{broker: import("./broker.mjs").BrokerLike, ready: Promise<unknown>}} blocking is safe
 *   once `ready` has resolved: before it, the broker could not start workers meanwhile
 */
export function startBroker(site, workerURL, separate) {
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
    worker.onmessage = () => resolve(undefined);
    worker.onerror = (event) => reject(new Error(`the broker did not start: ${event.message}`));
  });
  worker.postMessage({ kind: "boot", role: "broker", site, workerURL, port: port2 }, [port2]);
  return { broker, ready };
}
