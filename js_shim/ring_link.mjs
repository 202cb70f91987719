/**
 * Channels through rings in shared memory, and bulk parts through the arena.
 *
 * Owns the backlog of what a full ring did not take, the streaming of parts for which the arena
 * has no room, and blocking. Knows nothing of what the frames mean, but that an OBJECT frame to a
 * worker names memory that comes through a port, as no ring can carry it: it waits in the ring, and
 * so does all behind it, until the memory is there.
 */

import { CHUNK_BYTES, header, Link, newPeer, padded, withBytes } from "./link.mjs";
import { Memories } from "./memories.mjs";
import { HEADER_BYTES, Kind } from "./protocol.mjs";
import { canWaitAsync, openChannel } from "./ring.mjs";

/** No heap of WebAssembly holds more. */
const MAX_PART_BYTES = 2 ** 32;

/**
 * What waits for room in a ring: frames, or the rest of a bulk part.
 * @typedef {{frames: Uint8Array} | {token: number, total: number, rest: Uint8Array}} Waiting
 */

/**
 * @typedef {import("./link.mjs").Peer & {
 *   channel: ReturnType<typeof openChannel>,
 *   backlog: Waiting[],
 *   filled: Map<number, number>,
 *   port: MessagePort | undefined,
 * }} RingPeer `filled`: bytes of each unfinished part that have arrived, by token; `port`: for
 *   memory, and for bells where there is no waitAsync
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
   * @param {import("./arena.mjs").Arena} arena where bulk parts travel
   */
  constructor(heap, hub, bell, end, arena) {
    super(heap);
    this.arena = arena;
    this.hub = hub;
    this.ownBell = bell;
    this.end = end;
    /** Beside the arena, what a page has given. */
    this.memories = new Memories();
    /** The memory for which the next frame waits; 0 none. */
    this.awaited = 0;
    this.arrived = () => {};
    /** @type {[number, RingPeer][]} */
    this.order = [];
    /** The bell's count before the last look at the rings: what rang since was not seen. */
    this.seen = bell.count();
    /** The task of the signal that Python has been given and did not ask about yet; 0 none. */
    this.taken = 0;
    /** Where in that order the next `receive` starts, so that no peer starves the others. */
    this.turn = 0;
  }

  /**
   * @param {number} peer
   * @param {SharedArrayBuffer} memory
   * @param {MessagePort} [port]
   */
  open(peer, memory, port) {
    const channel = openChannel(memory, this.hub, this.end, canWaitAsync ? undefined : port);
    // In Node, who listens is kept alive by it: a hub with waitAsync hears nothing here.
    if (port && (this.end === "worker" || !canWaitAsync)) {
      port.onmessage = ({ data }) => {
        // What rings a bell is undefined; Node hands on null.
        if (data) this.#receivedMemory(data);
        else this.ownBell.told();
      };
    }
    this.peers.set(peer, { ...newPeer(), channel, backlog: [], filled: new Map(), port });
    this.order = [...this.peers];
  }

  /** @returns {import("./ring.mjs").Doorbell} what has the hub look at what is no frame */
  hubBell() {
    if (this.end === "hub") return this.ownBell;
    const [[, { channel }]] = /** @type {[[number, RingPeer]]} */ (this.order);
    return channel.outgoing.consumer;
  }

  /**
   * The hub sends memory, ahead of the OBJECT frame that will name it.
   * @param {number} peer
   * @param {number} id
   */
  lend(peer, id) {
    const { buffer } = this.memories.get(id);
    this.peers.get(peer)?.port?.postMessage({ id, buffer });
  }

  /** @param {{id: number, buffer: SharedArrayBuffer}} message */
  #receivedMemory({ id, buffer }) {
    this.memories.set(id, buffer);
    this.arrived();
  }

  /** @param {number} id */
  awaits(id) {
    if (this.end === "hub" || this.memories.has(id)) return false;
    this.awaited = id;
    return true;
  }

  /**
   * Leaves its port open: the last message there may be the one that tells of a bell.
   * @param {number} peer
   */
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
   * @param {import("./link.mjs").Buffer} buffer not empty
   * @returns {number} the token of this part
   */
  put(peer, buffer) {
    const state = this.peers.get(peer);
    if (!state) return 0;
    return withBytes(buffer, (bytes) => {
      const offset = this.arena.allocate(bytes.length, peer);
      if (offset === 0) return this.#stream(peer, state, bytes);
      this.arena.bytes(offset, bytes.length).set(bytes);
      return offset;
    });
  }

  /**
   * Sends a bulk part through the ring, where the arena has no room for it.
   * @param {number} peer
   * @param {RingPeer} state
   * @param {Uint8Array} rest
   * @returns {number} its token: odd, as no offset in the arena is
   */
  #stream(peer, state, rest) {
    const token = 2 * state.tokens++ + 1;
    const part = { token, total: rest.length, rest };
    state.backlog.push(part);
    this.#pump(peer, state);
    part.rest = part.rest.slice();
    return token;
  }

  /**
   * @param {number} peer
   * @param {number} token
   * @param {number} length
   */
  view(peer, token, length) {
    if (token & 1) return super.view(peer, token, length);
    const found = this.arena.lengthOf(token, peer);
    if (found !== length) {
      throw new RangeError(`part ${token} from peer ${peer} has ${found} bytes, not ${length}`);
    }
    return this.arena.bytes(token, length);
  }

  /**
   * @param {number} peer
   * @param {number} token
   */
  drop(peer, token) {
    if (token & 1) super.drop(peer, token);
    else this.arena.free(token);
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
   * Moves on what waits for room, if anything does.
   * @param {number} peer
   * @param {RingPeer} state
   * @returns {boolean} whether something still does
   */
  #moveOn(peer, state) {
    if (state.backlog.length > 0) this.#pump(peer, state);
    return state.backlog.length > 0;
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
    // Parts come one after the other: what claims memory for many at a time is no link.
    const begins = !part && state.filled.size === 0;
    if (begins && Number.isInteger(total) && total >= now && total < MAX_PART_BYTES) {
      try {
        part = new Uint8Array(total);
      } catch {
        state.lost = `it sent a part of ${total} bytes, for which there is no memory`;
        return;
      }
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
   * The hub wants a task interrupted.
   * @param {number} peer that runs it
   * @param {number} task
   */
  interrupt(peer, task) {
    this.peers.get(peer)?.channel.interrupt(task);
  }

  /**
   * The hub does not want anything interrupted any more; what the worker was told, it was.
   * @param {number} peer
   */
  uninterrupt(peer) {
    this.peers.get(peer)?.channel.interrupted();
  }

  /**
   * @param {number} peer
   * @returns {number} a count that goes on while a worker runs Python
   */
  pulse(peer) {
    return /** @type {RingPeer} */ (this.peers.get(peer)).channel.pulse();
  }

  /**
   * What Pyodide takes for its interrupt buffer: it reads element 0 now and then while Python runs,
   * and stores 0 there. A buffer in shared memory would lose what is stored between the two, so
   * the reading is ours. It takes the task's number: each call from Python into JavaScript reads
   * once more, and the handler of the signal makes one to ask for that number.
   * A task may run for long, or be ended: what those before it have left moves on meanwhile. Nothing
   * that moves it calls Python, so it is never read while that goes on already.
   * @param {number} peer the hub's
   * @param {number} signal its number
   */
  signals(peer, signal) {
    const state = /** @type {RingPeer} */ (this.peers.get(peer));
    const { channel } = state;
    const link = this;
    return {
      get 0() {
        channel.beat();
        link.#moveOn(peer, state);
        if (!channel.isInterrupted()) return 0;
        link.taken = channel.interrupted();
        return signal;
      },
      set 0(_) {},
    };
  }

  /**
   * @param {number} peer the hub's
   * @returns {number} the task that the worker is to interrupt, which it is told once; 0 none
   */
  interrupted(peer) {
    const task = this.taken || (this.peers.get(peer)?.channel.interrupted() ?? 0);
    this.taken = 0;
    return task;
  }

  /**
   * Blocks until the worker is to interrupt something, or the time is over.
   * @param {number} peer the hub's
   * @param {number} milliseconds
   */
  pause(peer, milliseconds) {
    const state = this.peers.get(peer);
    state?.channel.pause(milliseconds, () => this.#moveOn(peer, state));
  }

  /**
   * Fills the inbox.
   * @param {number} milliseconds how long to block while nothing is there; 0 only looks
   * @returns {number} bytes in the inbox; 0 when the time is over, only a turn of the event loop can
   *   bring more, or a primitive has changed while the hub's thread waits for one
   */
  receive(milliseconds) {
    const { seen } = this;
    let length = this.#drain();
    if (length > 0 || milliseconds <= 0) return length;
    // What rang was no frame, but perhaps what the caller waits for.
    if (this.arena.isWatched() && this.seen !== seen) return 0;
    const end = performance.now() + milliseconds;
    for (;;) {
      const left = end - performance.now();
      if (left <= 0 || this.awaited) return 0;
      this.ownBell.wait(this.seen, left);
      length = this.#drain();
      if (length > 0 || this.arena.isWatched()) return length;
    }
  }

  async bell() {
    if (this.awaited && !this.memories.has(this.awaited)) {
      await new Promise((resolve) => {
        this.arrived = () => resolve(undefined);
      });
      return;
    }
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
    this.awaited = 0;
    let at = 0;
    for (let i = 0; i < order.length; i++) {
      const [peer, state] = /** @type {[number, RingPeer]} */ (
        order[(i + this.turn) % order.length]
      );
      this.#moveOn(peer, state);
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
