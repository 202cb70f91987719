/**
 * The broker: creates and ends the worker threads of a hub, and notices when one dies.
 *
 * It lives on a thread that never blocks, because a hub that waits in Atomics.wait can neither
 * start nor end workers of its own in Chromium (a nested worker's life needs its creator's event
 * loop). Owns the assets and the threads; knows nothing of frames or tasks.
 */

import { checked } from "./protocol.mjs";
import { bury } from "./ring.mjs";
import { startThread } from "./thread.mjs";

/**
 * What a worker is given: rings in shared memory, or a port.
 * @typedef {{memory: SharedArrayBuffer, hub: SharedArrayBuffer} | {port: MessagePort}} Channel
 */

/**
 * @typedef {object} SpawnRequest
 * @property {number} peer
 * @property {string} name
 * @property {Channel} channel
 * @property {Uint8Array} archive zip of the Python packages that the worker starts from
 */

/**
 * What a hub needs of a broker, near or far.
 * @typedef {object} BrokerLike
 * @property {(request: SpawnRequest) => void} spawn
 * @property {(peer: number) => void} terminate
 * @property {(peer: number, reason: string) => void} ondied in mode transfer; in mode shared
 *   the obituary is written into the channel, where a blocked hub sees it
 */

/** @implements {BrokerLike} */
export class Broker {
  /**
   * @param {string} workerURL of worker.mjs
   * @param {() => Promise<import("./boot.mjs").Assets>} load gets the assets; called again after
   *   a failure
   */
  constructor(workerURL, load) {
    this.workerURL = workerURL;
    this.load = load;
    /** @type {Promise<import("./boot.mjs").Assets> | undefined} */
    this.loading = undefined;
    /** @type {import("./boot.mjs").Assets | undefined} */
    this.loaded = undefined;
    /** @type {Map<number, import("./thread.mjs").Thread>} */
    this.threads = new Map();
    this.closed = false;
    /** @type {(peer: number, reason: string) => void} */
    this.ondied = () => {};
  }

  /** @returns {Promise<import("./boot.mjs").Assets>} fetched once; a failure is not kept */
  assets() {
    this.loading ??= this.load().then(
      (assets) => {
        this.loaded = assets;
        return assets;
      },
      (error) => {
        this.loading = undefined;
        throw error;
      },
    );
    return this.loading;
  }

  /** @param {SpawnRequest} request */
  spawn({ peer, name, channel, archive }) {
    if (this.closed) return;
    const died = (/** @type {string} */ reason) => {
      if (!this.threads.delete(peer)) return;
      if ("memory" in channel) bury(channel.memory, channel.hub, reason);
      else this.ondied(peer, reason);
    };
    const thread = startThread(this.workerURL, name, { died });
    this.threads.set(peer, thread);
    const boot = (/** @type {import("./boot.mjs").Assets} */ assets) => {
      const transfer = "port" in channel ? [channel.port] : [];
      thread.post({ kind: "boot", role: "worker", peer, assets, channel, archive }, transfer);
    };
    // At once where that is possible: a hub on this very thread may be about to block.
    if (this.loaded) boot(this.loaded);
    else {
      this.assets().then(boot, (error) => {
        thread.terminate();
        died(error.message);
      });
    }
  }

  /** @param {number} peer */
  terminate(peer) {
    this.threads.get(peer)?.terminate();
    this.threads.delete(peer);
  }

  /** Ends every thread; what is asked for later is not started. */
  close() {
    this.closed = true;
    for (const peer of [...this.threads.keys()]) this.terminate(peer);
  }
}

/**
 * Lets a hub on another thread use a broker.
 * @param {MessagePort} port
 * @param {Broker} broker
 */
export function serveBroker(port, broker) {
  broker.ondied = (peer, reason) => port.postMessage({ kind: "died", peer, reason });
  port.onmessage = ({ data }) => {
    const message = checked(data, ["spawn", "terminate"]);
    if (message.kind === "spawn") broker.spawn(message);
    else broker.terminate(message.peer);
  };
}

/**
 * A broker on another thread, as its hub sees it.
 * @implements {BrokerLike}
 */
export class RemoteBroker {
  /** @param {MessagePort} port the other end is served by `serveBroker` */
  constructor(port) {
    this.port = port;
    /** @type {(peer: number, reason: string) => void} */
    this.ondied = () => {};
    port.onmessage = ({ data }) => {
      const { peer, reason } = checked(data, ["died"]);
      this.ondied(peer, reason);
    };
  }

  /** @param {SpawnRequest} request */
  spawn(request) {
    const transfer = "port" in request.channel ? [request.channel.port] : [];
    this.port.postMessage({ kind: "spawn", ...request }, transfer);
  }

  /** @param {number} peer */
  terminate(peer) {
    this.port.postMessage({ kind: "terminate", peer });
  }
}
