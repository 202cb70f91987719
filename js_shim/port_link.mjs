/**
 * Channels over message ports: buffers are transferred, nothing can block.
 *
 * Owns the batches that arrived and were not read yet. Knows nothing of what the frames mean.
 */

import { inNode } from "./assets.mjs";
import { Link, newPeer, padded, withBytes } from "./link.mjs";
import { HEADER_BYTES, Kind } from "./protocol.mjs";
import { messagesAt } from "./thread.mjs";

/**
 * @typedef {import("./link.mjs").Peer & {
 *   port: MessagePort,
 *   outgoing: {token: number, bytes: Uint8Array}[],
 *   incoming: ({frames: Uint8Array, read: number} | {end: string})[],
 * }} PortPeer `end`: why nothing more will come
 */

/** A longer timer would end at once. */
const MAX_TIMER_MS = 2 ** 31;

/**
 * By its tag: what comes from another realm is no instance of this one's classes.
 * @param {any} value
 */
const isBytes = (value) => Object.prototype.toString.call(value) === "[object Uint8Array]";

/** @param {any} data */
function isBatch(data) {
  return (
    isBytes(data?.frames) &&
    Array.isArray(data.parts) &&
    data.parts.every(
      (/** @type {any} */ part) => Number.isInteger(part?.token) && isBytes(part.bytes),
    )
  );
}

/**
 * Channels over message ports.
 * @extends {Link<PortPeer>}
 */
export class PortLink extends Link {
  /** @param {() => Uint8Array} heap */
  constructor(heap) {
    super(heap);
    this.#quiet();
  }

  /** @type {Promise<void>} */
  #rung = Promise.resolve();
  #ring = () => {};

  #quiet() {
    this.#rung = new Promise((resolve) => {
      this.#ring = () => resolve();
    });
  }

  /**
   * @param {number} peer
   * @param {MessagePort} port
   */
  open(peer, port) {
    /** @type {PortPeer} */
    const state = { ...newPeer(), port, outgoing: [], incoming: [] };
    this.peers.set(peer, state);
    port.onmessage = ({ data }) => this.#take(state, data);
  }

  /**
   * @param {PortPeer} state
   * @param {any} data
   */
  #take(state, data) {
    if (typeof data?.end === "string") {
      state.incoming.push({ end: data.end });
    } else if (!isBatch(data)) {
      state.incoming.push({ end: "it sent a message that is no batch of frames" });
    } else {
      for (const { token, bytes } of data.parts) state.parts.set(token, bytes);
      state.incoming.push({ frames: data.frames, read: 0 });
    }
    this.#ring();
  }

  /**
   * Looks among what was not received yet. In Node, that is all that was sent; in browsers, what
   * came before the last turn of the event loop.
   * @param {number} peer
   * @returns {number} the task that the peer wants ended; 0 if there is none
   */
  interrupted(peer) {
    const state = this.peers.get(peer);
    if (!state) return 0;
    if (inNode) for (const data of messagesAt(state.port)) this.#take(state, data);
    for (const batch of state.incoming) {
      if ("end" in batch) break;
      const view = new DataView(batch.frames.buffer, batch.frames.byteOffset, batch.frames.length);
      let at = batch.read;
      while (at + HEADER_BYTES <= view.byteLength) {
        if (view.getUint8(at + 4) === Kind.CANCEL) return view.getUint32(at + 12, true);
        at += padded(Math.max(view.getUint32(at, true), HEADER_BYTES));
      }
    }
    return 0;
  }

  /** @returns {Promise<void>} resolved once what has been sent may have arrived */
  turn() {
    return new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    });
  }

  /**
   * Tells the other side that nothing more will come; it hears of it behind all that was sent.
   * @param {number} peer
   * @param {string} reason
   */
  end(peer, reason) {
    this.peers.get(peer)?.port.postMessage({ end: reason });
  }

  /**
   * Notes that a peer is gone; it is reported behind what it had sent. Who tells of it uses another
   * port, and no engine says which message comes first: so this one is looked through, or given a
   * turn of the event loop.
   * @param {number} peer
   * @param {string} reason
   */
  async bury(peer, reason) {
    const state = this.peers.get(peer);
    if (!state) return;
    if (inNode) for (const data of messagesAt(state.port)) this.#take(state, data);
    else await this.turn();
    state.incoming.push({ end: reason || "unknown" });
    this.#ring();
  }

  /** @param {number} peer */
  close(peer) {
    this.peers.get(peer)?.port.close();
    super.close(peer);
  }

  /**
   * @param {number} peer
   * @param {Uint8Array} bytes
   */
  send(peer, bytes) {
    const state = this.peers.get(peer);
    if (!state) return;
    const frames = bytes.slice();
    const parts = state.outgoing;
    state.outgoing = [];
    state.port.postMessage({ frames, parts }, [
      frames.buffer,
      ...parts.map((part) => part.bytes.buffer),
    ]);
  }

  /**
   * @param {number} peer
   * @param {import("./link.mjs").Buffer} buffer not empty
   * @returns {number} the token of this part
   */
  put(peer, buffer) {
    const state = this.peers.get(peer);
    if (!state) return 0;
    const token = ++state.tokens;
    state.outgoing.push({ token, bytes: withBytes(buffer, (bytes) => bytes.slice()) });
    return token;
  }

  /**
   * As in shared memory; nothing that was sent can be taken back here.
   * @param {number} _peer
   * @param {number} length of the mailbox
   * @param {number} _epoch
   */
  claim(_peer, length, _epoch) {
    if (length > 0) this.flush(length);
    return true;
  }

  /** @param {PortPeer} state */
  chunk(state) {
    state.lost = "it sent a CHUNK frame, which only travels in shared memory";
  }

  /**
   * Fills the inbox with what has arrived; cannot wait.
   * @returns {number} bytes in the inbox
   */
  receive() {
    let at = 0;
    for (const [peer, state] of this.peers) {
      while (state.incoming[0] && state.lost === undefined) {
        const batch = state.incoming[0];
        if ("end" in batch) {
          state.lost = batch.end;
          break;
        }
        const view = new DataView(batch.frames.buffer, batch.frames.byteOffset);
        at = this.collect(
          peer,
          state,
          {
            readable: () => batch.frames.length - batch.read,
            word: (from) => view.getUint32(batch.read + from, true),
            copy: (target, from) =>
              target.set(batch.frames.subarray(batch.read + from).subarray(0, target.length)),
            consume: (count) => {
              batch.read += count;
            },
          },
          at,
        );
        if (batch.read < batch.frames.length) return at;
        state.incoming.shift();
      }
      if (state.lost !== undefined && !state.reported) at = this.report(peer, state, at);
    }
    return at;
  }

  /**
   * For Python that waits by switching stacks: what listens is not called meanwhile.
   * @param {number} milliseconds at the most
   * @returns {Promise<void>} resolved when there may be something to receive, or the time is over
   */
  async arrived(milliseconds) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const late = new Promise((resolve) => {
      if (milliseconds < MAX_TIMER_MS) timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([this.bell(), late]);
    clearTimeout(timer);
  }

  async bell() {
    for (const state of this.peers.values()) {
      if (!state.reported && (state.incoming.length > 0 || state.lost !== undefined)) return;
    }
    await this.#rung;
    this.#quiet();
  }
}
