/**
 * Single-producer, single-consumer byte rings and doorbells in shared memory.
 *
 * Owns the layout of a channel's SharedArrayBuffer and the ordering of its words. Knows frames
 * only by the length in their first four bytes; knows nothing of Python, threads or tasks.
 *
 * A channel (one per worker, in 32-bit words):
 *   0 state     0 open, 1 the worker is gone (its obituary stands at OBITUARY), 2 its thread has
 *               ended, and what it had in the arena is freed
 *   1 bell      counts what concerns the worker; the worker waits on it
 *   2 sleepers  how many waits are pending on that bell
 *   3 obituary  length in bytes of the reason why the worker is gone
 *   4 claim     upper half: the epoch of tasks that may be started; lower half: how many tasks the
 *               worker has started, modulo 2^16. The worker counts up, the hub moves the epoch on,
 *               each by compare-exchange on the whole word: so a task is either started or taken
 *               back, and both sides know which.
 *   5 away      1 while who waits on the bell waits for a message, where there is no waitAsync
 *   6 cancel    the task that the worker is to interrupt, by its number; 0 none. The hub stores one
 *               where none stands, the worker takes it by an exchange
 *   7 pulse     goes on while the worker runs Python, or sleeps in it
 *   16 head, 32 tail, 48 starved    ring from hub to worker, one cache line for each word
 *   64 head, 80 tail, 96 starved    ring from worker to hub
 * then the obituary text, then the bytes of both rings.
 *
 * head counts the bytes ever written, tail those ever read, both modulo 2^32. The producer alone
 * stores head, the consumer alone stores tail; each store is sequentially consistent and follows
 * the copying of the bytes it speaks of, so that who reads the word may read the bytes.
 * starved is set by a producer that found too little room, and cleared by the consumer, which
 * then rings the producer's bell.
 */

const WORD = 4;
const STATE = 0;
const BELL = 1;
const SLEEPERS = 2;
const OBITUARY_LENGTH = 3;
const CLAIM = 4;
const AWAY = 5;
const CANCEL = 6;
const PULSE = 7;
const TO_WORKER = 16;
const TO_HUB = 64;
const TAIL = 16;
const STARVED = 32;
const OBITUARY = 128 * WORD;
const OBITUARY_BYTES = 2048 - OBITUARY;
const DATA = 2048;

/** Bytes of each ring: a power of two, several times the largest frame. */
export const RING_BYTES = 262_144;

/** A worker that sleeps gives a sign of life so often. */
const PAUSE_MS = 250;
/** And looks so often whether the hub has made room. */
const ROOM_MS = 20;

/**
 * Loads before a wait, a few ns each. Spinning saves a wake-up from Atomics.wait where the other
 * thread answers soon and has a core of its own, and takes time from it where it has not. So a
 * long spin is tried now and then, and kept up for as long as it succeeds.
 */
const LONG_SPIN = 8_000;
const SHORT_SPIN = 200;
const TRY_EVERY = 32;

/** Whether a thread can wait without blocking; else it has to be told by a message. */
export const canWaitAsync = typeof Atomics.waitAsync === "function";

/** A word that counts events, on which one thread waits and which any thread rings. */
export class Doorbell {
  /**
   * @param {SharedArrayBuffer} memory of a channel, or of `bellMemory()`
   * @param {MessagePort} [port] leads to whoever waits on it; needed where there is no waitAsync
   */
  constructor(memory, port) {
    this.words = new Int32Array(memory);
    this.port = port;
    this.spins = SHORT_SPIN;
    this.waits = 0;
    this.told = () => {};
  }

  ring() {
    const { words, port } = this;
    Atomics.add(words, BELL, 1);
    if (Atomics.load(words, SLEEPERS) > 0) Atomics.notify(words, BELL);
    if (port && Atomics.load(words, AWAY) === 1 && Atomics.exchange(words, AWAY, 0) === 1) {
      port.postMessage(undefined);
    }
  }

  /** @returns {number} the count to hand to a wait, read before looking for work */
  count() {
    return Atomics.load(this.words, BELL);
  }

  /**
   * Blocks until the bell has rung since `seen`, or the time is over.
   * @param {number} seen a count
   * @param {number} milliseconds at most this long
   */
  wait(seen, milliseconds) {
    if (++this.waits % TRY_EVERY === 0) this.spins = LONG_SPIN;
    for (let i = 0; i < this.spins; i++) {
      if (Atomics.load(this.words, BELL) !== seen) return;
    }
    this.spins = SHORT_SPIN;
    Atomics.add(this.words, SLEEPERS, 1);
    Atomics.wait(this.words, BELL, seen, milliseconds);
    Atomics.sub(this.words, SLEEPERS, 1);
  }

  /**
   * Resolves when the bell has rung since `seen`. The producer's add and its look at `sleepers`
   * stand in the opposite order of ours, so that one of the two sees the other.
   * @param {number} seen a count
   */
  async rung(seen) {
    if (!canWaitAsync) return this.#toldOf(seen);
    Atomics.add(this.words, SLEEPERS, 1);
    try {
      const waiting = Atomics.waitAsync(this.words, BELL, seen);
      if (waiting.async) await waiting.value;
    } finally {
      Atomics.sub(this.words, SLEEPERS, 1);
    }
  }

  /**
   * The same order of steps as above, with a word that says so in place of the sleepers.
   * @param {number} seen a count
   * @returns {Promise<void>}
   */
  #toldOf(seen) {
    Atomics.store(this.words, AWAY, 1);
    if (Atomics.load(this.words, BELL) !== seen) return Promise.resolve();
    return new Promise((resolve) => {
      this.told = resolve;
    });
  }
}

/** One direction of a channel. */
class Ring {
  /**
   * @param {SharedArrayBuffer} memory
   * @param {number} words index of its head word
   * @param {number} data offset of its bytes
   * @param {Doorbell} producer rung when a starved producer has room again
   * @param {Doorbell} consumer rung when bytes have arrived
   */
  constructor(memory, words, data, producer, consumer) {
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory, data, RING_BYTES);
    this.heads = new Uint32Array(memory, data, RING_BYTES / WORD);
    this.head = words;
    this.tail = words + TAIL;
    this.starved = words + STARVED;
    this.producer = producer;
    this.consumer = consumer;
    this.unannounced = false;
  }

  /** @returns {number} bytes that can be read now; only the consumer asks */
  readable() {
    return (Atomics.load(this.words, this.head) - Atomics.load(this.words, this.tail)) >>> 0;
  }

  /** @returns {number} bytes that can be written now; only the producer asks */
  writable() {
    return RING_BYTES - this.readable();
  }

  /**
   * Appends whole frames, without ringing; they become readable together.
   * @param {Uint8Array} frames padded to 8 bytes; with `payload`, only the header of one frame
   * @param {Uint8Array} [payload] the rest of that frame, padded here
   */
  write(frames, payload) {
    const head = Atomics.load(this.words, this.head);
    this.#place(frames, head);
    let end = head + frames.length;
    if (payload) {
      this.#place(payload, end);
      end = (end + payload.length + 7) & ~7;
    }
    Atomics.store(this.words, this.head, end | 0);
    this.unannounced = true;
  }

  /** Rings the consumer's bell if anything was written since the last time. */
  announce() {
    if (!this.unannounced) return;
    this.unannounced = false;
    this.consumer.ring();
  }

  /**
   * @param {Uint8Array} source
   * @param {number} position counted as head is
   */
  #place(source, position) {
    const at = position & (RING_BYTES - 1);
    const first = RING_BYTES - at;
    if (source.length <= first) {
      this.bytes.set(source, at);
    } else {
      this.bytes.set(source.subarray(0, first), at);
      this.bytes.set(source.subarray(first), 0);
    }
  }

  /**
   * Asks for room; where there is too little, the consumer will ring once it has read. Looks
   * twice: the consumer may have read just before it could see that we starve.
   * @param {number} count
   * @returns {boolean} whether so many bytes can be written now
   */
  reserve(count) {
    if (this.writable() >= count) return true;
    Atomics.store(this.words, this.starved, 1);
    return this.writable() >= count;
  }

  /**
   * @param {number} from bytes after the tail, a multiple of 4 below `readable()`
   * @returns {number} the 32-bit word there
   */
  word(from) {
    const at = (Atomics.load(this.words, this.tail) + from) & (RING_BYTES - 1);
    return /** @type {number} */ (this.heads[at / WORD]);
  }

  /**
   * Copies bytes out without consuming them.
   * @param {Uint8Array} target
   * @param {number} from bytes after the tail to start at
   */
  copy(target, from) {
    const at = (Atomics.load(this.words, this.tail) + from) & (RING_BYTES - 1);
    const first = Math.min(target.length, RING_BYTES - at);
    target.set(this.bytes.subarray(at, at + first));
    if (first < target.length) target.set(this.bytes.subarray(0, target.length - first), first);
  }

  /** @param {number} count bytes that were copied and are given back to the producer */
  consume(count) {
    const tail = Atomics.load(this.words, this.tail);
    Atomics.store(this.words, this.tail, (tail + count) | 0);
    if (
      Atomics.load(this.words, this.starved) === 1 &&
      Atomics.exchange(this.words, this.starved, 0) === 1
    ) {
      this.producer.ring();
    }
  }
}

/** @returns {SharedArrayBuffer} memory for one channel */
export function channelMemory() {
  return new SharedArrayBuffer(DATA + 2 * RING_BYTES);
}

/** @returns {SharedArrayBuffer} memory for the bell that all channels of one hub share: its
 *   words 1 and 2 are those of a channel */
export function bellMemory() {
  return new SharedArrayBuffer(64);
}

/**
 * The two rings of a channel, as one of its ends sees them.
 * @param {SharedArrayBuffer} memory of `channelMemory()`
 * @param {SharedArrayBuffer} hub of `bellMemory()`
 * @param {"hub" | "worker"} end whose view this is
 * @param {MessagePort} [port] leads to the other end, where that needs messages to be woken
 */
export function openChannel(memory, hub, end, port) {
  const words = new Int32Array(memory);
  const hubBell = new Doorbell(hub, end === "worker" ? port : undefined);
  const workerBell = new Doorbell(memory, end === "hub" ? port : undefined);
  const toWorker = new Ring(memory, TO_WORKER, DATA, hubBell, workerBell);
  const toHub = new Ring(memory, TO_HUB, DATA + RING_BYTES, workerBell, hubBell);
  return {
    bell: end === "hub" ? hubBell : workerBell,
    incoming: end === "hub" ? toHub : toWorker,
    outgoing: end === "hub" ? toWorker : toHub,
    /**
     * The worker is about to start a task.
     * @param {number} epoch that the task was sent in
     * @returns {boolean} false: it was taken back
     */
    claim(epoch) {
      for (;;) {
        const now = Atomics.load(words, CLAIM);
        if (now >>> 16 !== epoch) return false;
        const next = (now & ~0xffff) | ((now + 1) & 0xffff);
        if (Atomics.compareExchange(words, CLAIM, now, next) === now) return true;
      }
    },
    /**
     * The hub takes back all tasks that were not started.
     * @returns {number} how many were started, modulo 2^16
     */
    recall() {
      for (;;) {
        const now = Atomics.load(words, CLAIM);
        const next = (now + 0x10000) | 0;
        if (Atomics.compareExchange(words, CLAIM, now, next) === now) return now & 0xffff;
      }
    },
    /**
     * The hub wants a task interrupted. Another one that the worker has not seen yet stands first;
     * who wants this one asks again.
     * @param {number} task
     */
    interrupt(task) {
      if (Atomics.compareExchange(words, CANCEL, 0, task | 0) === 0) Atomics.notify(words, CANCEL);
    },
    /** @returns {boolean} whether the worker has something to interrupt */
    isInterrupted: () => Atomics.load(words, CANCEL) !== 0,
    /** @returns {number} what the worker is to interrupt, which it is told once; 0 nothing */
    interrupted: () => Atomics.exchange(words, CANCEL, 0) >>> 0,
    /**
     * The worker blocks until there is something to interrupt, or the time is over.
     * @param {number} milliseconds
     * @param {() => boolean} waits moves on what waits for room, and tells whether something does
     */
    pause(milliseconds, waits) {
      const end = performance.now() + milliseconds;
      for (;;) {
        this.beat();
        const slice = waits() ? ROOM_MS : PAUSE_MS;
        const left = end - performance.now();
        if (left <= 0) return;
        if (Atomics.wait(words, CANCEL, 0, Math.min(left, slice)) !== "timed-out") return;
      }
    },
    /** The worker runs Python. */
    beat() {
      Atomics.add(words, PULSE, 1);
    },
    /** @returns {number} a count that goes on while the worker runs Python */
    pulse: () => Atomics.load(words, PULSE),
    /** @returns {string | undefined} why the worker is gone, undefined while it lives */
    obituary() {
      if (Atomics.load(words, STATE) === 0) return undefined;
      // TextDecoder refuses views of shared memory.
      const text = new Uint8Array(memory, OBITUARY, words[OBITUARY_LENGTH]).slice();
      return new TextDecoder().decode(text);
    },
  };
}

/**
 * Records that the worker of a channel is gone. The first reason stands.
 * @param {SharedArrayBuffer} memory of `channelMemory()`
 * @param {SharedArrayBuffer} hub of `bellMemory()`
 * @param {string} reason
 */
export function bury(memory, hub, reason) {
  const words = new Int32Array(memory);
  if (Atomics.compareExchange(words, OBITUARY_LENGTH, 0, -1) !== 0) return;
  const text = new TextEncoder().encode(reason || "unknown").subarray(0, OBITUARY_BYTES);
  new Uint8Array(memory, OBITUARY, text.length).set(text);
  Atomics.store(words, OBITUARY_LENGTH, text.length);
  Atomics.store(words, STATE, 1);
  new Doorbell(hub).ring();
}

/**
 * Records that the thread of a worker has ended and left nothing behind.
 * @param {SharedArrayBuffer} memory of `channelMemory()`
 */
export function close(memory) {
  Atomics.store(new Int32Array(memory), STATE, 2);
}

/**
 * @param {SharedArrayBuffer} memory of `channelMemory()`
 * @returns {boolean} whether its worker's thread may still run
 */
export function isOpen(memory) {
  return Atomics.load(new Int32Array(memory), STATE) !== 2;
}
