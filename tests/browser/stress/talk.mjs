/**
 * What two ends of a channel say to each other under stress, over a real link.
 *
 * Owns the simulated heap of one thread, what it says to each peer, and the check of all that it
 * hears. Knows nothing of how threads are made, and of a link no more than Python does.
 *
 * A frame's id counts the frames to that peer, its number says how many of the peer's frames were
 * heard, and its payload begins with a checksum of the rest, or of the bulk parts that it names.
 * Each side keeps a window of frames under way: at times a single one, so that the threads wait for
 * each other all the time, at times more than a ring holds. Whatever is not exact throws.
 */

import { Arena } from "../../../js_shim/arena.mjs";
import { HEADER_BYTES, Kind, MAX_FRAME_BYTES } from "../../../js_shim/protocol.mjs";
import { RING_BYTES } from "../../../js_shim/ring.mjs";

const MAILBOX_BYTES = 131_072;
const INBOX_BYTES = 262_144;
const LEAST_HEAP_BYTES = MAILBOX_BYTES + INBOX_BYTES;
const PAGE_BYTES = 65_536;

/** Checksum and padding, so that what is summed up begins at a multiple of 4. */
const SUM_BYTES = 8;
const PART_BYTES = 12;
const SPILLED = 0x80;
const MAX_BYTES = 3 * RING_BYTES;
const MAX_PLAIN_BYTES = MAX_FRAME_BYTES - HEADER_BYTES - SUM_BYTES;
const MAX_PARTS = 3;

/** Frames under way to one peer, at the most; another one of these every so many frames. */
const WINDOWS = [1, 3, 30, 300, 1_500];
const FRAMES_PER_WINDOW = 500;
const MAX_BATCH = 40;
const STEPS_PER_MOVE = 500;

/** Who hears nothing for so long, and still has something to hear, has missed a ring. */
export const LATE_MS = 20_000;

/** @param {Uint8Array} bytes that begin at a multiple of 4 */
function checksum(bytes) {
  let sum = bytes.length;
  const whole = bytes.length >> 2;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, whole);
  for (let i = 0; i < whole; i++) sum = (Math.imul(sum, 31) + words[i]) | 0;
  for (let i = 4 * whole; i < bytes.length; i++) sum = (Math.imul(sum, 31) + bytes[i]) | 0;
  return sum;
}

/** An arena in which every other part finds no room, and goes through the ring. */
export class HalfFull extends Arena {
  /** @param {(below: number) => number} random */
  use(random) {
    this.random = random;
    return this;
  }

  /**
   * @param {number} length
   * @param {number} owner
   */
  allocate(length, owner) {
    return this.random(2) ? super.allocate(length, owner) : 0;
  }
}

/** How much went one way. */
const nothing = () => ({ frames: 0, parts: 0, inArena: 0, dropped: 0, bytes: 0 });

/** What is said to one peer and heard from it. */
class Side {
  /** @param {number} frames to be said, and to be heard; Infinity until `stop` */
  constructor(frames) {
    this.frames = frames;
    this.expected = frames;
    this.window = 1;
    this.confirmed = 0;
    this.told = 0;
    this.sent = nothing();
    this.received = nothing();
    /** What the peer says of itself at its end. @type {any} */
    this.report = undefined;
  }

  isIdle() {
    return this.sent.frames >= this.frames || this.sent.frames - this.confirmed >= this.window;
  }

  /** Whether all was said and heard, and either side knows. */
  isOver() {
    const { frames, expected, sent, received, confirmed, told } = this;
    return (
      sent.frames === frames &&
      confirmed === frames &&
      received.frames === expected &&
      told === expected
    );
  }
}

/** One thread's end of all its channels. */
export class Talker {
  /**
   * @param {{random: (below: number) => number, canBlock: boolean, partShare: number}} options
   *   `partShare`: of 1000 frames, so many name bulk parts though they could do without
   */
  constructor({ random, canBlock, partShare }) {
    this.random = random;
    this.canBlock = canBlock;
    this.partShare = partShare;
    this.noise = new Uint8Array(MAX_BYTES + PAGE_BYTES).map(() => random(256));
    this.heap = new Uint8Array(LEAST_HEAP_BYTES);
    this.view = new DataView(this.heap.buffer);
    this.used = 0;
    this.steps = 0;
    this.waits = 0;
    this.turns = 0;
    this.progressed = performance.now();
    /** @type {Map<number, Side>} */
    this.sides = new Map();
    /** @type {(peer: number, reason: string) => void} */
    this.onlost = (peer, reason) => {
      throw new Error(`peer ${peer} is lost: ${reason}`);
    };
    /** @type {(peer: number) => void} */
    this.onfirst = () => {};
  }

  /** @param {any} link */
  use(link) {
    this.link = link;
    link.configure(0, MAILBOX_BYTES, INBOX_BYTES);
  }

  /**
   * @param {number} peer
   * @param {number} frames
   */
  add(peer, frames) {
    this.sides.set(peer, new Side(frames));
  }

  /** As if the heap had grown: views of the old one are dead from now on. */
  move() {
    const bytes = LEAST_HEAP_BYTES + this.random(4) * PAGE_BYTES;
    this.heap = new Uint8Array(this.heap.buffer.transfer(bytes));
    this.view = new DataView(this.heap.buffer);
  }

  /**
   * Says and hears until all have to wait for others; then waits in here, or returns to the event
   * loop, by chance.
   * @param {() => boolean} isOver
   * @returns {boolean} whether it is over
   */
  turn(isOver) {
    this.turns++;
    for (;;) {
      if (++this.steps % STEPS_PER_MOVE === 0) this.move();
      this.speak();
      if (isOver()) return true;
      const idle = [...this.sides.values()].every((side) => side.isIdle());
      const blocks = idle && this.canBlock && this.random(4) > 0;
      const length = this.link.receive(blocks ? LATE_MS : 0);
      if (blocks) this.waits++;
      if (blocks && length === 0)
        throw new Error(`heard nothing for ${LATE_MS} ms: ${this.state()}`);
      if (length > 0) this.hear(length);
      else if (idle) return false;
    }
  }

  state() {
    return JSON.stringify([...this.sides].map(([peer, side]) => ({ peer, ...side })));
  }

  /** Says a batch to each peer, as far as the windows allow. */
  speak() {
    for (const [peer, side] of this.sides) {
      let batch = 1 + this.random(MAX_BATCH);
      while (batch-- > 0 && !side.isIdle()) {
        side.sent.frames++;
        if (side.sent.frames % FRAMES_PER_WINDOW === 0) {
          side.window = WINDOWS[this.random(WINDOWS.length)];
        }
        const size = this.size();
        if (size > MAX_PLAIN_BYTES || this.random(1_000) < this.partShare) {
          this.spill(peer, side, size);
        } else this.plain(peer, side, size);
      }
      if (side.isIdle() && side.told !== side.received.frames) this.say(peer, Kind.READY, 0);
    }
    this.flush();
  }

  flush() {
    const { used } = this;
    this.used = 0;
    if (used > 0) this.link.flush(used);
  }

  /** @returns {number} mostly a frame as tasks have them, at times up to three times a ring */
  size() {
    const limit = this.random(1_000) < 4 ? MAX_BYTES : 4_096;
    return Math.max(1, Math.floor(limit ** (this.random(2 ** 20) / 2 ** 20)));
  }

  /** @param {number} length */
  some(length) {
    const start = 4 * this.random(PAGE_BYTES / 4);
    return this.noise.subarray(start, start + length);
  }

  /**
   * @param {number} peer
   * @param {Side} side
   * @param {number} size
   */
  plain(peer, side, size) {
    const content = this.some(size);
    const at = this.say(peer, Kind.RESULT, SUM_BYTES + size);
    this.view.setInt32(at, checksum(content), true);
    this.heap.set(content, at + SUM_BYTES);
    side.sent.bytes += size;
  }

  /**
   * @param {number} peer
   * @param {Side} side
   * @param {number} size of all parts
   */
  spill(peer, side, size) {
    const count = Math.min(1 + this.random(MAX_PARTS), size);
    const table = [];
    for (let i = count; i > 0; i--) {
      const length = i === 1 ? size : 1 + this.random(size - i + 1);
      size -= length;
      const part = this.some(length);
      const token = this.link.put(peer, { getBuffer: () => ({ data: part, release() {} }) });
      table.push({ token, length, sum: checksum(part) });
      side.sent.parts++;
      side.sent.bytes += length;
      if (this.canBlock && token % 2 === 0) side.sent.inArena++;
    }
    let at = this.say(peer, Kind.RESULT, SUM_BYTES + PART_BYTES * count, SPILLED);
    this.view.setInt32(at, count, true);
    for (const { token, length, sum } of table) {
      this.view.setUint32(at + SUM_BYTES, token, true);
      this.view.setUint32(at + SUM_BYTES + 4, length, true);
      this.view.setInt32(at + SUM_BYTES + 8, sum, true);
      at += PART_BYTES;
    }
  }

  /**
   * Tells a peer what a side of it has counted here.
   * @param {number} peer
   * @param {number} kind
   * @param {unknown} message
   */
  tell(peer, kind, message) {
    const text = new TextEncoder().encode(JSON.stringify(message));
    this.heap.set(text, this.say(peer, kind, text.length));
  }

  /**
   * Writes the header of a frame.
   * @param {number} peer
   * @param {number} kind
   * @param {number} length of its payload
   * @param {number} flags
   * @returns {number} where its payload begins
   */
  say(peer, kind, length, flags = 0) {
    const side = /** @type {Side} */ (this.sides.get(peer));
    if (this.used + HEADER_BYTES + length + 8 > MAILBOX_BYTES) this.flush();
    const { used, view } = this;
    side.told = side.received.frames;
    view.setUint32(used, HEADER_BYTES + length, true);
    view.setUint8(used + 4, kind);
    view.setUint8(used + 5, flags);
    view.setUint32(used + 8, peer, true);
    view.setUint32(used + 12, side.sent.frames, true);
    view.setFloat64(used + 16, side.told, true);
    this.used = (used + HEADER_BYTES + length + 7) & ~7;
    return used + HEADER_BYTES;
  }

  /** @param {number} length of what is in the inbox */
  hear(length) {
    this.progressed = performance.now();
    const end = MAILBOX_BYTES + length;
    for (let at = MAILBOX_BYTES; at < end; ) {
      const size = this.view.getUint32(at, true);
      const peer = this.view.getUint32(at + 8, true);
      const side = this.sides.get(peer);
      if (side) this.heed(peer, side, at, size);
      at = (at + size + 7) & ~7;
    }
  }

  /**
   * @param {number} peer
   * @param {Side} side
   * @param {number} at
   * @param {number} size
   */
  heed(peer, side, at, size) {
    const { view } = this;
    const kind = view.getUint8(at + 4);
    const payload = this.heap.subarray(at + HEADER_BYTES, at + size);
    if (kind === Kind.LOST) {
      this.sides.delete(peer);
      this.onlost(peer, new TextDecoder().decode(payload));
      return;
    }
    if (side.received.frames === 0) this.onfirst(peer);
    const id = view.getUint32(at + 12, true);
    side.confirmed = view.getFloat64(at + 16, true);
    if (kind === Kind.RESULT) {
      side.received.frames++;
      const where = `frame ${side.received.frames} of peer ${peer}`;
      if (id !== side.received.frames) throw new Error(`${where} is number ${id}`);
      if (view.getUint8(at + 5) === SPILLED) this.gather(peer, side, payload, where);
      else this.check(payload, where, side);
    } else if (kind === Kind.PROGRESS) {
      side.report = JSON.parse(new TextDecoder().decode(payload));
      side.expected = id;
    } else if (kind === Kind.FORGET) this.stop(peer, id);
    else if (kind !== Kind.READY) throw new Error(`peer ${peer} said kind ${kind}`);
  }

  /**
   * @param {Uint8Array} payload
   * @param {string} where
   * @param {Side} side
   */
  check(payload, where, side) {
    const content = payload.subarray(SUM_BYTES);
    const view = new DataView(payload.buffer, payload.byteOffset);
    if (view.getInt32(0, true) !== checksum(content)) throw new Error(`${where} is damaged`);
    side.received.bytes += content.length;
  }

  /**
   * @param {number} peer
   * @param {Side} side
   * @param {Uint8Array} payload
   * @param {string} where
   */
  gather(peer, side, payload, where) {
    const view = new DataView(payload.buffer, payload.byteOffset);
    const count = view.getInt32(0, true);
    // One in a while is dropped unread, as those of a task that was taken back.
    const isWanted = this.random(20) > 0;
    for (let at = SUM_BYTES; at < SUM_BYTES + PART_BYTES * count; at += PART_BYTES) {
      const token = view.getUint32(at, true);
      const length = view.getUint32(at + 4, true);
      if (isWanted) {
        const part = this.link.view(peer, token, length);
        if (part.length !== length || checksum(part) !== view.getInt32(at + 8, true)) {
          throw new Error(`a part of ${where} is damaged: ${token}, of ${length} bytes`);
        }
      } else side.received.dropped++;
      this.link.drop(peer, token);
      side.received.parts++;
      side.received.bytes += length;
      if (this.canBlock && token % 2 === 0) side.received.inArena++;
    }
  }

  /**
   * Says no more new frames to a peer.
   * @param {number} peer
   * @param {number} expected how many there are to be heard; Infinity if that is not known yet
   */
  stop(peer, expected) {
    const side = /** @type {Side} */ (this.sides.get(peer));
    side.frames = side.sent.frames;
    side.expected = expected;
  }

  /**
   * Ends it all if a thread that should have been rung was not.
   * @param {() => boolean} isOver
   * @param {(reason: string) => void} fatal
   */
  watch(isOver, fatal) {
    const timer = setInterval(() => {
      if (isOver()) clearInterval(timer);
      else if (performance.now() - this.progressed > LATE_MS) {
        fatal(`its event loop heard nothing for ${LATE_MS} ms: ${this.state()}`);
      }
    }, 1_000);
  }
}
