/**
 * Two threads pass frames and bulk parts through one channel, both ways at once, each blocking in
 * Atomics.wait when it has nothing to do: `node ring_stress.mjs FRAMES PARTS SEED`.
 *
 * Each side sends so many frames, and so many bulk parts in between. A frame's payload begins with
 * a checksum of the rest; its id counts frames, its number says how many the sender has received,
 * so that each side keeps a window of frames under way: at times a single one, so that the threads
 * wait for each other all the time, at times more than a ring holds. Prints what both sides sent
 * and received, as JSON.
 */

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Arena, arenaMemory, HUB } from "../../js_shim/arena.mjs";
import { HEADER_BYTES, Kind, MAX_FRAME_BYTES } from "../../js_shim/protocol.mjs";
import { bellMemory, channelMemory, Doorbell } from "../../js_shim/ring.mjs";
import { RingLink } from "../../js_shim/ring_link.mjs";
import { randomNumbers } from "../browser/stress/random_numbers.mjs";

const PEER = 1;
const MAILBOX_BYTES = 131_072;
const INBOX_BYTES = 262_144;
const CHECKSUM_BYTES = 4;
const PART_FLAG = 0x80;
const PART_PAYLOAD_BYTES = 12;
const MAX_PART_BYTES = 600_000;

/** Frames under way in one direction, at the most; another one of these every so many frames. */
const WINDOWS = [1, 3, 30, 300, 1_500];
const FRAMES_PER_WINDOW = 1_000;

/** A wait that takes so long has missed its ring. */
const LATE_MS = 8_000;

/** @param {Uint8Array} bytes */
function checksum(bytes) {
  let sum = bytes.length;
  for (let i = 0; i < bytes.length; i++) sum = (Math.imul(sum, 31) + bytes[i]) | 0;
  return sum;
}

/** One end of the channel, and what it still has to say and to hear. */
class Side {
  /**
   * @param {"hub" | "worker"} end
   * @param {{memory: SharedArrayBuffer, hub: SharedArrayBuffer, arena: WebAssembly.Memory}} channel
   * @param {{frames: number, parts: number, seed: number}} amounts
   */
  constructor(end, { memory, hub, arena }, { frames, parts, seed }) {
    this.heap = new Uint8Array(MAILBOX_BYTES + INBOX_BYTES);
    this.view = new DataView(this.heap.buffer);
    const bell = new Doorbell(end === "hub" ? hub : memory);
    const shared = new Arena(arena, end === "hub" ? HUB : PEER, true);
    // Every other part finds no room, and goes through the ring.
    const halfFull = Object.create(shared, {
      allocate: {
        value: (/** @type {[number, number]} */ ...given) =>
          this.random(2) ? shared.allocate(...given) : 0,
      },
      lengthOf: { value: shared.lengthOf.bind(shared) },
      bytes: { value: shared.bytes.bind(shared) },
      free: { value: shared.free.bind(shared) },
    });
    this.link = new RingLink(() => this.heap, hub, bell, end, halfFull);
    this.link.open(PEER, memory);
    this.link.configure(0, MAILBOX_BYTES, INBOX_BYTES);
    this.random = randomNumbers(end === "hub" ? seed : ~seed);
    this.noise = new Uint8Array(MAX_PART_BYTES).map(() => this.random(256));
    this.frames = frames;
    this.partEvery = Math.max(1, Math.floor(frames / parts));
    this.window = 1;
    this.confirmed = 0;
    this.told = 0;
    this.sent = { frames: 0, parts: 0, bytes: 0 };
    this.received = { frames: 0, parts: 0, bytes: 0 };
    this.wrong = 0;
    this.late = 0;
    this.waits = 0;
  }

  isOver() {
    const { backlog } = /** @type {any} */ (this.link.peers.get(PEER));
    return (
      this.sent.frames === this.frames &&
      this.confirmed === this.frames &&
      this.received.frames === this.frames &&
      this.told === this.frames &&
      backlog.length === 0
    );
  }

  /** Whether it has to wait before it can say more. */
  isIdle() {
    return this.sent.frames === this.frames || this.sent.frames - this.confirmed >= this.window;
  }

  run() {
    while (!this.isOver()) {
      this.speak();
      this.hear();
    }
    const { sent, received, wrong, late, waits } = this;
    return { sent, received, wrong, late, waits };
  }

  /** Sends a batch of random size, as far as the window allows. */
  speak() {
    let used = 0;
    let batch = 1 + this.random(80);
    while (batch-- > 0 && !this.isIdle()) {
      const length = HEADER_BYTES + CHECKSUM_BYTES + this.size();
      if (used + length + 7 > MAILBOX_BYTES) break;
      this.sent.frames++;
      if (this.sent.frames % FRAMES_PER_WINDOW === 0) {
        this.window = WINDOWS[this.random(WINDOWS.length)];
      }
      if (this.sent.frames % this.partEvery === 0) {
        used = this.part(used);
        break;
      }
      const payload = this.heap.subarray(used + HEADER_BYTES + CHECKSUM_BYTES, used + length);
      payload.set(this.noise.subarray(this.random(1_000)).subarray(0, payload.length));
      this.view.setInt32(used + HEADER_BYTES, checksum(payload), true);
      used = this.header(used, length, Kind.RESULT, 0);
    }
    if (this.isIdle() && this.told !== this.received.frames) {
      used = this.header(used, HEADER_BYTES, Kind.READY, 0);
    }
    if (used > 0) this.link.flush(used);
  }

  /** @returns {number} mostly small, at times as large as frames get */
  size() {
    const kind = this.random(1_000);
    if (kind < 950) return this.random(300);
    if (kind < 998) return this.random(5_000);
    return this.random(MAX_FRAME_BYTES - HEADER_BYTES - CHECKSUM_BYTES + 1);
  }

  /** @param {number} used */
  part(used) {
    const part = this.noise.subarray(0, 1 + this.random(MAX_PART_BYTES));
    if (used > 0) this.link.flush(used);
    const token = this.link.put(PEER, { getBuffer: () => ({ data: part, release() {} }) });
    this.sent.parts++;
    this.sent.bytes += part.length;
    this.view.setInt32(HEADER_BYTES, checksum(part), true);
    this.view.setInt32(HEADER_BYTES + 4, token, true);
    this.view.setInt32(HEADER_BYTES + 8, part.length, true);
    return this.header(0, HEADER_BYTES + PART_PAYLOAD_BYTES, Kind.RESULT, PART_FLAG);
  }

  /**
   * @param {number} at
   * @param {number} length
   * @param {number} kind
   * @param {number} flags
   * @returns {number} the offset behind the frame
   */
  header(at, length, kind, flags) {
    this.told = this.received.frames;
    if (kind === Kind.RESULT) this.sent.bytes += length;
    this.view.setUint32(at, length, true);
    this.view.setUint8(at + 4, kind);
    this.view.setUint8(at + 5, flags);
    this.view.setUint32(at + 8, PEER, true);
    this.view.setUint32(at + 12, this.sent.frames, true);
    this.view.setFloat64(at + 16, this.told, true);
    return (at + length + 7) & ~7;
  }

  /** Receives what is there; blocks if there is nothing else to do. */
  hear() {
    if (this.isOver()) return;
    const idle = this.isIdle();
    const length = this.link.receive(idle ? LATE_MS : 0);
    if (idle) this.waits++;
    if (idle && length === 0) this.late++;
    const end = MAILBOX_BYTES + length;
    for (let at = MAILBOX_BYTES; at < end; ) {
      const size = this.view.getUint32(at, true);
      this.confirmed = this.view.getFloat64(at + 16, true);
      if (this.view.getUint8(at + 4) === Kind.RESULT) this.check(at, size);
      at = (at + size + 7) & ~7;
    }
  }

  /**
   * @param {number} at
   * @param {number} size
   */
  check(at, size) {
    const { received, view } = this;
    received.frames++;
    received.bytes += size;
    let content = this.heap.subarray(at + HEADER_BYTES + CHECKSUM_BYTES, at + size);
    if (view.getUint8(at + 5) === PART_FLAG) {
      const token = view.getInt32(at + HEADER_BYTES + 4, true);
      content = this.link.view(PEER, token, view.getInt32(at + HEADER_BYTES + 8, true)).slice();
      this.link.drop(PEER, token);
      received.parts++;
      received.bytes += content.length;
    }
    const isRight = checksum(content) === view.getInt32(at + HEADER_BYTES, true);
    if (!isRight || view.getUint32(at + 12, true) !== received.frames) this.wrong++;
  }
}

if (isMainThread) {
  const [frames, parts, seed] = process.argv.slice(2).map(Number);
  const channel = { memory: channelMemory(), hub: bellMemory(), arena: arenaMemory() };
  const amounts = { frames, parts, seed };
  const worker = new Worker(new URL(import.meta.url), { workerData: { channel, amounts } });
  const answered = new Promise((resolve, reject) => {
    worker.on("message", resolve);
    worker.on("error", reject);
  });
  await new Promise((resolve) => worker.on("online", resolve));
  const ours = new Side("hub", channel, amounts).run();
  console.log(JSON.stringify([ours, await answered]));
} else {
  parentPort?.postMessage(new Side("worker", workerData.channel, workerData.amounts).run());
}
