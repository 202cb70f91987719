/**
 * The broker: creates and ends the worker threads of a hub, and notices when one dies.
 *
 * It lives on a thread that never blocks, because a hub that waits in Atomics.wait can neither
 * start nor end workers of its own in Chromium (a nested worker's life needs its creator's event
 * loop). Owns the assets and the threads; knows nothing of frames or tasks. What a worker leaves
 * in shared memory is freed here, as it is here that its true end is known.
 */

import { Arena, BROKER } from "./arena.mjs";
import { checked, PROTOCOL_VERSION } from "./protocol.mjs";
import { bury, close } from "./ring.mjs";
import { startThread } from "./thread.mjs";

/**
 * What a worker is given: rings in shared memory with its hub's bell and arena, or a port.
 * @typedef {object} SharedChannel
 * @property {SharedArrayBuffer} memory
 * @property {SharedArrayBuffer} hub
 * @property {WebAssembly.Memory} arena
 * @property {MessagePort} port for memory of a page, and for bells where there is no
 *   Atomics.waitAsync
 * @typedef {SharedChannel | {port: MessagePort}} Channel
 */

/** A lock of the arena that is held is asked for again after so long. */
const SWEEP_AGAIN_MS = 20;

/**
 * @typedef {object} SpawnRequest
 * @property {number} peer
 * @property {string} name
 * @property {Channel} channel
 * @property {Uint8Array} archive zip of the Python packages that the worker starts from
 * @property {number | undefined} fork number of the thread from whose memory it shall start, if that
 *   is there
 * @property {Uint8Array | undefined} setup makes it such a thread: what it sets up. Its obituary tells
 *   what it has left, as JSON, or why it has left nothing
 */

/**
 * What a hub needs of a broker, near or far.
 * @typedef {object} BrokerLike
 * @property {(request: SpawnRequest) => void} spawn
 * @property {(peer: number) => void} terminate ends a worker at once
 * @property {(peer: number) => void} retire ends one that has nothing to do
 * @property {(peer: number, reason: string) => void} ondied called for each worker that died, and in
 *   mode shared, where the obituary also stands in the channel for a hub that is blocked, once more
 *   at its true end, or that of one that was ended
 */

/** @implements {BrokerLike} */
export class Broker {
  /**
   * @param {string} workerURL of worker.mjs
   * @param {() => Promise<import("./assets.mjs").Assets>} load gets the assets; called again after
   *   a failure
   * @param {import("./keeper.mjs").Keeper} [keeper] provides a snapshot, where the site has none
   */
  constructor(workerURL, load, keeper) {
    this.workerURL = workerURL;
    this.load = load;
    this.keeper = keeper;
    /** @type {Promise<import("./assets.mjs").Assets> | undefined} */
    this.loading = undefined;
    /** @type {import("./assets.mjs").Assets | undefined} */
    this.loaded = undefined;
    /** @type {Map<number, {thread: import("./thread.mjs").Thread, channel: Channel}>} */
    this.workers = new Map();
    /** @type {Map<number, import("./fork.mjs").Fork>} by the thread that has made it */
    this.forks = new Map();
    this.closed = false;
    /** @type {(peer: number, reason: string) => void} */
    this.ondied = () => {};
  }

  /** @returns {Promise<import("./assets.mjs").Assets>} fetched once; a failure is not kept */
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
  spawn({ peer, name, channel, archive, fork, setup }) {
    if (this.closed) return;
    const died = (/** @type {string} */ reason) => {
      if ("memory" in channel) bury(channel.memory, channel.hub, reason);
      this.ondied(peer, reason);
    };
    const thread = startThread(this.workerURL, name, { died });
    this.workers.set(peer, { thread, channel });
    const boot = (/** @type {import("./assets.mjs").Assets} */ assets) => {
      /** @type {any[]} */
      const transfer = channel.port ? [channel.port] : [];
      const init = { kind: "boot", version: PROTOCOL_VERSION, peer, assets, channel, archive };
      if (setup === undefined) {
        const forked = fork === undefined ? undefined : this.forks.get(fork);
        thread.post({ ...init, role: "worker", fork: forked }, transfer);
        return;
      }
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => {
        port1.close();
        thread.terminate();
        if (!this.workers.has(peer)) return;
        this.forks.set(peer, data.fork);
        died(JSON.stringify({ bytes: data.bytes }));
      };
      thread.post({ ...init, role: "fork", setup, port: port2 }, [...transfer, port2]);
    };
    // At once where that is possible: a hub on this very thread may be about to block.
    if (this.loaded && !this.keeper) boot(this.loaded);
    else {
      const provided = this.assets().then(async (assets) => {
        await this.keeper?.provide(assets, archive);
        return assets;
      });
      provided.then(boot, (error) => {
        thread.terminate();
        died(error.message);
      });
    }
  }

  /** @param {number} peer */
  terminate(peer) {
    this.#end(peer, (thread) => thread.terminate());
  }

  /** @param {number} peer */
  retire(peer) {
    this.#end(peer, (thread) => thread.close());
  }

  /**
   * Ends a worker, whether or not it has died already; its hub is done with it.
   * @param {number} peer
   * @param {(thread: import("./thread.mjs").Thread) => void} how
   */
  #end(peer, how) {
    const worker = this.workers.get(peer);
    if (!worker) return;
    this.workers.delete(peer);
    this.forks.delete(peer);
    how(worker.thread);
    const { channel } = worker;
    if ("memory" in channel) {
      worker.thread.ended.then(() => this.#sweep(peer, channel));
    }
  }

  /**
   * Frees what an ended worker had in the arena: at its end and not before, as it may have been
   * writing there.
   * @param {number} peer
   * @param {SharedChannel} channel
   */
  #sweep(peer, channel) {
    if (this.closed) return;
    if (!new Arena(channel.arena, BROKER, false).sweep(peer)) {
      setTimeout(() => this.#sweep(peer, channel), SWEEP_AGAIN_MS);
      return;
    }
    close(channel.memory);
    // It may have ended in the middle of ringing the hub's bell, where that takes a message: with the
    // word for that taken, and the message not sent. Then nobody else would wake the hub.
    this.ondied(peer, "its thread ended");
  }

  /** Ends every thread; what is asked for later is not started. */
  close() {
    this.closed = true;
    for (const peer of [...this.workers.keys()]) this.retire(peer);
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
    const message = checked(data, ["spawn", "terminate", "retire"]);
    if (message.kind === "spawn") broker.spawn(message);
    else if (message.kind === "retire") broker.retire(message.peer);
    else broker.terminate(message.peer);
  };
}

/**
 * A broker on another thread, as its hub sees it.
 * @implements {BrokerLike}
 */
export class RemoteBroker {
  /** Of the workers that were asked for, and of which no end is known. @type {Map<number, Channel>} */
  #channels = new Map();
  /** Why there is no broker. @type {string | undefined} */
  #lost = undefined;

  /** @param {MessagePort} port the other end is served by `serveBroker` */
  constructor(port) {
    this.port = port;
    /** @type {(peer: number, reason: string) => void} */
    this.ondied = () => {};
    port.onmessage = ({ data }) => {
      const { peer, reason } = checked(data, ["died"]);
      this.#channels.delete(peer);
      this.ondied(peer, reason);
    };
  }

  /** @param {SpawnRequest} request */
  spawn(request) {
    const { peer, channel } = request;
    this.#channels.set(peer, channel);
    if (this.#lost !== undefined) {
      // Later, as for any worker that dies: Python asks for this one now.
      queueMicrotask(() => this.#bury(peer));
      return;
    }
    const transfer = channel.port ? [channel.port] : [];
    this.port.postMessage({ kind: "spawn", ...request }, transfer);
  }

  /** @param {number} peer */
  terminate(peer) {
    this.#channels.delete(peer);
    this.port.postMessage({ kind: "terminate", peer });
  }

  /** @param {number} peer */
  retire(peer) {
    this.#channels.delete(peer);
    this.port.postMessage({ kind: "retire", peer });
  }

  /**
   * There is nobody at the other end: what was asked for has died, and so does what will be.
   * @param {string} reason
   */
  lose(reason) {
    this.#lost = reason;
    for (const peer of [...this.#channels.keys()]) this.#bury(peer);
  }

  /** @param {number} peer whose end may be known meanwhile */
  #bury(peer) {
    const channel = this.#channels.get(peer);
    if (!channel) return;
    this.#channels.delete(peer);
    const reason = /** @type {string} */ (this.#lost);
    if ("memory" in channel) bury(channel.memory, channel.hub, reason);
    this.ondied(peer, reason);
  }
}
