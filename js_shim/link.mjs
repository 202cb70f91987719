/**
 * A Python heap's end of its channels: one mailbox out, one inbox in, one call for each batch.
 *
 * Owns the copying between the heap and the channels, the backlog of what a full ring did not
 * take, and bulk parts. Knows a frame by its header only; knows nothing of tasks. RingLink moves
 * bytes through shared memory and can block; PortLink transfers buffers through message ports.
 *
 * Python fills the mailbox with frames and calls `flush`; `receive` fills the inbox. What is too
 * large for a frame goes ahead of it by `put`, which copies it out of the heap at once and returns
 * a token for the frame to name; the receiver's `take` copies it in. Nothing here waits for room:
 * what does not fit stays in a backlog, and moves on when the other side has read.
 */

import { HEADER_BYTES, Kind, MAX_FRAME_BYTES } from "./protocol.mjs";
import { openChannel } from "./ring.mjs";

/** Payload bytes of one CHUNK or OUTPUT frame. */
const CHUNK_BYTES = 49_152;

/** Of the reason that a LOST frame gives. */
const MAX_REASON_BYTES = 2_048;

/** No heap of WebAssembly holds more. */
const MAX_PART_BYTES = 2 ** 32;

/**
 * @param {number} length
 * @returns {number} the length with its padding to 8 bytes
 */
const padded = (length) => (length + 7) & ~7;

/**
 * @param {number} kind
 * @param {number} peer
 * @param {number} payload its length in bytes
 * @param {{id?: number, number?: number, flags?: number}} fields
 * @returns {Uint8Array} the header of a frame that the shim itself makes
 */
function header(kind, peer, payload, { id = 0, number = 0, flags = 0 }) {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, HEADER_BYTES + payload, true);
  view.setUint8(4, kind);
  view.setUint8(5, flags);
  view.setUint32(8, peer, true);
  view.setUint32(12, id, true);
  view.setFloat64(16, number, true);
  return bytes;
}

/**
 * @param {number} kind
 * @param {number} peer
 * @param {Uint8Array} payload
 * @param {number} [flags]
 * @returns {Uint8Array} a whole frame, padded
 */
function frame(kind, peer, payload, flags = 0) {
  const bytes = new Uint8Array(padded(HEADER_BYTES + payload.length));
  bytes.set(header(kind, peer, payload.length, { flags }));
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/**
 * A Python object with the buffer protocol, as Pyodide hands it over.
 * @typedef {{getBuffer: (type: "u8") => {data: Uint8Array, release: () => void}}} Buffer
 */

/**
 * @template T
 * @param {Buffer} buffer
 * @param {(bytes: Uint8Array) => T} use gets a view of the heap, valid during the call
 * @returns {T}
 */
function withBytes(buffer, use) {
  const view = buffer.getBuffer("u8");
  try {
    return use(view.data);
  } finally {
    view.release();
  }
}

/**
 * Where incoming frames are read from: a ring, or the bytes of one message.
 * @typedef {object} Source
 * @property {() => number} readable
 * @property {(from: number) => number} word the 32-bit word at an offset
 * @property {(target: Uint8Array, from: number) => void} copy
 * @property {(count: number) => void} consume
 */

/**
 * What both kinds of link know of a peer.
 * @typedef {object} Peer
 * @property {Map<number, Uint8Array>} parts bulk parts that have arrived, by token
 * @property {number} tokens how many were given out to this peer
 * @property {string | undefined} lost why nothing more will come from it
 * @property {boolean} reported whether its LOST frame was given out
 */

/** @returns {Peer} */
const newPeer = () => ({ parts: new Map(), tokens: 0, lost: undefined, reported: false });

/**
 * What both kinds of link share: the heap's mailbox and inbox, and the parts that arrived.
 * @template {Peer} P
 */
class Link {
  /** @param {() => Uint8Array} heap the heap's bytes now: a view dies when the heap grows */
  constructor(heap) {
    this.heap = heap;
    this.mailbox = 0;
    this.inbox = 0;
    this.inboxBytes = 0;
    /** @type {Map<number, P>} */
    this.peers = new Map();
  }

  /**
   * @param {number} mailbox address from which `flush` reads
   * @param {number} inbox address to which `receive` writes
   * @param {number} inboxBytes at least MAX_FRAME_BYTES
   */
  configure(mailbox, inbox, inboxBytes) {
    this.mailbox = mailbox;
    this.inbox = inbox;
    this.inboxBytes = inboxBytes;
  }

  /**
   * Sends the first `length` bytes of the mailbox: whole frames, each padded to 8 bytes.
   * @param {number} length
   */
  flush(length) {
    const heap = this.heap();
    const view = new DataView(heap.buffer, this.mailbox, length);
    let start = 0;
    while (start < length) {
      const peer = view.getUint32(start + 8, true);
      let end = start;
      do {
        end += padded(view.getUint32(end, true));
      } while (end < length && view.getUint32(end + 8, true) === peer);
      this.send(peer, heap.subarray(this.mailbox + start, this.mailbox + end));
      start = end;
    }
  }

  /**
   * Hands on output of the interpreter, outside of any batch.
   * @param {number} peer
   * @param {number} stream 1 stdout, 2 stderr
   * @param {Uint8Array} bytes
   */
  output(peer, stream, bytes) {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      this.send(peer, frame(Kind.OUTPUT, peer, bytes.subarray(at, at + CHUNK_BYTES), stream));
    }
  }

  /**
   * Copies a bulk part into the heap and forgets it.
   * @param {number} peer
   * @param {number} token
   * @param {Buffer} target of the length that the frame said
   */
  take(peer, token, target) {
    const state = this.peers.get(peer);
    const part = state?.parts.get(token);
    withBytes(target, (bytes) => {
      if (!state || part?.length !== bytes.length) {
        throw new RangeError(`no part ${token} of ${bytes.length} bytes came from peer ${peer}`);
      }
      bytes.set(part);
      state.parts.delete(token);
    });
  }

  /**
   * Copies whole frames into the inbox until it is full, stamped with their peer: what a worker
   * says of itself is not believed. A malformed frame ends its peer.
   * @param {number} peer
   * @param {P} state
   * @param {Source} source
   * @param {number} at offset in the inbox
   * @returns {number} the offset after them
   */
  collect(peer, state, source, at) {
    const available = source.readable();
    if (available === 0) return at;
    const heap = this.heap();
    const view = new DataView(heap.buffer, this.inbox, this.inboxBytes);
    let from = 0;
    while (from < available && state.lost === undefined) {
      const left = available - from;
      const length = left < HEADER_BYTES ? left : source.word(from);
      const size = Math.ceil(length / 8) * 8;
      if (length < HEADER_BYTES || length > MAX_FRAME_BYTES || size > left) {
        state.lost = `it sent a malformed frame: of ${length} bytes, where ${left} are`;
        break;
      }
      if ((source.word(from + 4) & 0xff) === Kind.CHUNK) {
        const bytes = new Uint8Array(length);
        source.copy(bytes, from);
        this.chunk(state, bytes);
      } else {
        if (at + size > this.inboxBytes) break;
        source.copy(heap.subarray(this.inbox + at, this.inbox + at + size), from);
        view.setUint32(at + 8, peer, true);
        at += size;
      }
      from += size;
    }
    source.consume(state.lost === undefined ? from : available);
    return at;
  }

  /**
   * Writes the LOST frame of a peer that is gone, once, behind all that it had said.
   * @param {number} peer
   * @param {P} state
   * @param {number} at offset in the inbox
   * @returns {number} the offset after it
   */
  report(peer, state, at) {
    const reason = new TextEncoder().encode(state.lost).subarray(0, MAX_REASON_BYTES);
    const bytes = frame(Kind.LOST, peer, reason);
    if (at + bytes.length > this.inboxBytes) return at;
    this.heap().set(bytes, this.inbox + at);
    state.reported = true;
    return at + bytes.length;
  }

  /** @param {number} peer */
  close(peer) {
    this.peers.delete(peer);
  }

  /**
   * Calls back whenever there may be something to receive, until the callback throws.
   * @param {() => void} callback
   */
  async listen(callback) {
    for (;;) {
      await this.bell();
      callback();
    }
  }

  /**
   * @abstract
   * @returns {Promise<void>} resolved when there may be something to receive
   */
  bell() {
    throw new Error("abstract");
  }

  /**
   * @abstract
   * @param {number} _peer
   * @param {Uint8Array} _bytes frames, valid only during the call
   */
  send(_peer, _bytes) {
    throw new Error("abstract");
  }

  /**
   * @abstract
   * @param {P} _state
   * @param {Uint8Array} _bytes a CHUNK frame
   */
  chunk(_state, _bytes) {
    throw new Error("abstract");
  }
}

/**
 * What waits for room in a ring: frames, or the rest of a bulk part.
 * @typedef {{frames: Uint8Array} | {token: number, total: number, rest: Uint8Array}} Waiting
 */

/**
 * @typedef {Peer & {
 *   channel: ReturnType<typeof openChannel>,
 *   backlog: Waiting[],
 *   filled: Map<number, number>,
 * }} RingPeer `filled`: bytes of each unfinished part that have arrived, by token
 */

/**
 * Channels in shared memory.
 * @extends {Link<RingPeer>}
 */
export class RingLink extends Link {
  /**
   * @param {() => Uint8Array} heap
   * @param {SharedArrayBuffer} hub memory of the hub's bell
   * @param {import("./ring.mjs").Doorbell} bell the bell of this end
   * @param {"hub" | "worker"} end
   */
  constructor(heap, hub, bell, end) {
    super(heap);
    this.hub = hub;
    this.ownBell = bell;
    this.end = end;
    /** @type {[number, RingPeer][]} */
    this.order = [];
    /** The bell's count before the last look at the rings: what rang since was not seen. */
    this.seen = bell.count();
    /** Where in that order the next `receive` starts, so that no peer starves the others. */
    this.turn = 0;
  }

  /**
   * @param {number} peer
   * @param {SharedArrayBuffer} memory
   */
  open(peer, memory) {
    const channel = openChannel(memory, this.hub, this.end);
    this.peers.set(peer, { ...newPeer(), channel, backlog: [], filled: new Map() });
    this.order = [...this.peers];
  }

  /** @param {number} peer */
  close(peer) {
    super.close(peer);
    this.order = [...this.peers];
  }

  /**
   * @param {number} peer
   * @param {Uint8Array} bytes
   */
  send(peer, bytes) {
    const state = this.peers.get(peer);
    if (!state) return;
    const { outgoing } = state.channel;
    if (state.backlog.length === 0 && outgoing.writable() >= bytes.length) {
      outgoing.write(bytes);
      outgoing.announce();
    } else {
      state.backlog.push({ frames: bytes.slice() });
      this.#pump(peer, state);
    }
  }

  /**
   * @param {number} peer
   * @param {Buffer} buffer not empty
   * @returns {number} the token of this part
   */
  put(peer, buffer) {
    const state = this.peers.get(peer);
    if (!state) return 0;
    const token = ++state.tokens;
    withBytes(buffer, (rest) => {
      const part = { token, total: rest.length, rest };
      state.backlog.push(part);
      this.#pump(peer, state);
      part.rest = part.rest.slice();
    });
    return token;
  }

  /**
   * Moves on what waits for room.
   * @param {number} peer
   * @param {RingPeer} state
   */
  #pump(peer, state) {
    const { outgoing } = state.channel;
    while (state.backlog[0] && this.#advance(peer, state.backlog[0], outgoing)) {
      state.backlog.shift();
    }
    outgoing.announce();
  }

  /**
   * @param {number} peer
   * @param {Waiting} waiting
   * @param {RingPeer["channel"]["outgoing"]} ring
   * @returns {boolean} whether all of it was written
   */
  #advance(peer, waiting, ring) {
    if ("frames" in waiting) {
      if (!ring.reserve(waiting.frames.length)) return false;
      ring.write(waiting.frames);
      return true;
    }
    while (waiting.rest.length > 0) {
      const part = waiting.rest.subarray(0, CHUNK_BYTES);
      if (!ring.reserve(HEADER_BYTES + padded(part.length))) return false;
      const fields = { id: waiting.token, number: waiting.total };
      ring.write(header(Kind.CHUNK, peer, part.length, fields), part);
      waiting.rest = waiting.rest.subarray(part.length);
    }
    return true;
  }

  /**
   * @param {RingPeer} state
   * @param {Uint8Array} bytes
   */
  chunk(state, bytes) {
    const view = new DataView(bytes.buffer);
    const token = view.getUint32(12, true);
    const total = view.getFloat64(16, true);
    const filled = state.filled.get(token) ?? 0;
    const now = filled + bytes.length - HEADER_BYTES;
    let part = state.parts.get(token);
    if (!part && Number.isInteger(total) && total >= now && total < MAX_PART_BYTES) {
      part = new Uint8Array(total);
      state.parts.set(token, part);
    }
    if (part?.length !== total || now > total) {
      state.lost = `it sent a malformed frame: a part with ${now} bytes of ${total}`;
      return;
    }
    part.set(bytes.subarray(HEADER_BYTES), filled);
    if (now < total) state.filled.set(token, now);
    else state.filled.delete(token);
  }

  /**
   * The worker is about to start a task: sends what the tasks before it left in the mailbox.
   * @param {number} peer
   * @param {number} length of the mailbox
   * @param {number} epoch of the task
   * @returns {boolean} false: the task was taken back
   */
  claim(peer, length, epoch) {
    if (length > 0) this.flush(length);
    return this.peers.get(peer)?.channel.claim(epoch) ?? false;
  }

  /**
   * The hub takes back all tasks that a worker has not started.
   * @param {number} peer
   * @returns {number} how many it has started, modulo 2^16
   */
  recall(peer) {
    return /** @type {RingPeer} */ (this.peers.get(peer)).channel.recall();
  }

  /**
   * Fills the inbox.
   * @param {number} milliseconds how long to block while nothing is there; 0 only looks
   * @returns {number} bytes in the inbox; 0 when the time is over
   */
  receive(milliseconds) {
    let length = this.#drain();
    if (length > 0 || milliseconds <= 0) return length;
    const end = performance.now() + milliseconds;
    for (;;) {
      const left = end - performance.now();
      if (left <= 0) return 0;
      this.ownBell.wait(this.seen, left);
      length = this.#drain();
      if (length > 0) return length;
    }
  }

  async bell() {
    for (const state of this.peers.values()) {
      if (state.channel.incoming.readable() > 0) return;
      if (!state.reported && state.channel.obituary() !== undefined) return;
    }
    await this.ownBell.rung(this.seen);
  }

  /** @returns {number} bytes in the inbox */
  #drain() {
    const { order } = this;
    this.seen = this.ownBell.count();
    let at = 0;
    for (let i = 0; i < order.length; i++) {
      const [peer, state] = /** @type {[number, RingPeer]} */ (
        order[(i + this.turn) % order.length]
      );
      if (state.backlog.length > 0) this.#pump(peer, state);
      if (state.lost === undefined) {
        // The obituary first: what was written before it can then be read before it.
        const lost = state.channel.obituary();
        at = this.collect(peer, state, state.channel.incoming, at);
        if (lost !== undefined && state.channel.incoming.readable() === 0) state.lost ??= lost;
      }
      if (state.lost !== undefined && !state.reported) at = this.report(peer, state, at);
    }
    this.turn++;
    return at;
  }
}

/**
 * @typedef {Peer & {
 *   port: MessagePort,
 *   outgoing: {token: number, bytes: Uint8Array}[],
 *   incoming: ({frames: Uint8Array, read: number} | {end: string})[],
 * }} PortPeer `end`: why nothing more will come
 */

/** @param {any} data */
function isBatch(data) {
  return (
    ArrayBuffer.isView(data?.frames) &&
    Array.isArray(data.parts) &&
    data.parts.every(
      (/** @type {any} */ part) => Number.isInteger(part?.token) && ArrayBuffer.isView(part.bytes),
    )
  );
}

/**
 * Channels over message ports: buffers are transferred, nothing can block.
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
    port.onmessage = ({ data }) => {
      if (!isBatch(data)) {
        state.incoming.push({ end: "it sent a message that is no batch of frames" });
      } else {
        for (const { token, bytes } of data.parts) state.parts.set(token, bytes);
        state.incoming.push({ frames: data.frames, read: 0 });
      }
      this.#ring();
    };
  }

  /**
   * Notes that a peer is gone; it is reported behind what it had sent.
   * @param {number} peer
   * @param {string} reason
   */
  bury(peer, reason) {
    const state = this.peers.get(peer);
    if (!state) return;
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
   * @param {Buffer} buffer not empty
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

  async bell() {
    for (const state of this.peers.values()) {
      if (!state.reported && (state.incoming.length > 0 || state.lost !== undefined)) return;
    }
    await this.#rung;
    this.#quiet();
  }
}
