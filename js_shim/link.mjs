/**
 * A Python heap's end of its channels: one mailbox out, one inbox in, one call for each batch.
 *
 * Owns the copying of frames between the heap and the channels. Knows a frame by its header only;
 * knows nothing of tasks. What moves the bytes: `ring_link.mjs` and `port_link.mjs`.
 *
 * Python fills the mailbox with frames and calls `flush`; `receive` fills the inbox. What is too
 * large for a frame goes ahead of it by `put`, which copies it out of the heap at once and returns
 * a token for the frame to name; the receiver copies it from `view` and lets go of it by `drop`.
 * Nothing here waits for room: what does not fit stays in a backlog, and moves on when the other
 * side has read.
 */

import { HEADER_BYTES, Kind, MAX_FRAME_BYTES } from "./protocol.mjs";

/** Payload bytes of one CHUNK or OUTPUT frame. */
export const CHUNK_BYTES = 49_152;

/** Of the reason that a LOST frame gives. */
const MAX_REASON_BYTES = 2_048;

/**
 * @param {number} length
 * @returns {number} the length with its padding to 8 bytes
 */
export const padded = (length) => (length + 7) & ~7;

/**
 * @param {number} kind
 * @param {number} peer
 * @param {number} payload its length in bytes
 * @param {{id?: number, number?: number, flags?: number}} fields
 * @returns {Uint8Array} the header of a frame that the shim itself makes
 */
export function header(kind, peer, payload, { id = 0, number = 0, flags = 0 }) {
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
export function withBytes(buffer, use) {
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
export const newPeer = () => ({ parts: new Map(), tokens: 0, lost: undefined, reported: false });

/**
 * What both kinds of link share: the heap's mailbox and inbox, and the parts that arrived.
 * @template {Peer} P
 */
export class Link {
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

  /** @returns {number} bytes of the memory of this interpreter */
  heapBytes() {
    return this.heap().length;
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
   * A bulk part, until `drop`.
   * @param {number} peer from whom
   * @param {number} token
   * @param {number} length that the frame said
   * @returns {Uint8Array}
   * @throws {RangeError} no such part came
   */
  view(peer, token, length) {
    const part = this.peers.get(peer)?.parts.get(token);
    if (part?.length !== length) {
      throw new RangeError(`no part ${token} of ${length} bytes came from peer ${peer}`);
    }
    return part;
  }

  /**
   * Forgets a bulk part.
   * @param {number} peer
   * @param {number} token
   */
  drop(peer, token) {
    this.peers.get(peer)?.parts.delete(token);
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
      const kind = source.word(from + 4) & 0xff;
      if (kind === Kind.OBJECT && this.awaits(source.word(from + 12))) break;
      if (kind === Kind.CHUNK) {
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
   * @param {() => void | Promise<void>} callback not called again before it is done
   */
  async listen(callback) {
    for (;;) {
      await this.bell();
      await callback();
    }
  }

  /**
   * Says whether an OBJECT frame, and all behind it, has to wait for what it stands for.
   * @param {number} _id of the object
   */
  awaits(_id) {
    return false;
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
