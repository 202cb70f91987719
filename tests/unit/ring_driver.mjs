/**
 * Offers `ring.mjs` and both links to the tests in `channels`: both ends of channels in one thread, each
 * with a heap of its own, where a Python heap would be.
 */

import { Arena, arenaMemory } from "../../js_shim/arena.mjs";
import { PortLink } from "../../js_shim/port_link.mjs";
import {
  bellMemory,
  bury,
  channelMemory,
  Doorbell,
  openChannel,
  RING_BYTES,
} from "../../js_shim/ring.mjs";
import { RingLink } from "../../js_shim/ring_link.mjs";
import { answer } from "./json_lines.mjs";

const MAILBOX = 4_096;
const INBOX = 262_144;
const HEAP_BYTES = 1_048_576;

/** Words of a channel where each direction has its head and tail, as `ring.mjs` lists them. */
const COUNTERS = { worker: [16, 32], hub: [64, 80] };

const text = (/** @type {Uint8Array} */ bytes) => Buffer.from(bytes).toString("base64");
const bytes = (/** @type {string} */ text) => new Uint8Array(Buffer.from(text, "base64"));

/** @param {Uint8Array} data what a Python object with the buffer protocol holds */
const pythonBuffer = (data) => ({ getBuffer: () => ({ data, release() {} }) });

/**
 * One ring, as its producer and its consumer see it.
 * @type {{producer: any, consumer: any, ends: Record<string, any>}}
 */
let ring;

const ringCommands = {
  ringBytes: () => RING_BYTES,

  /** A new ring whose counters stand at `start`, with its data on the way to `to`. */
  newRing: ({ to, start }) => {
    const memory = channelMemory();
    const hub = bellMemory();
    for (const word of COUNTERS[to]) new Int32Array(memory)[word] = start | 0;
    const ends = {
      hub: openChannel(memory, hub, "hub"),
      worker: openChannel(memory, hub, "worker"),
    };
    const from = to === "hub" ? "worker" : "hub";
    ring = { producer: ends[from], consumer: ends[to], ends };
  },

  /** Does things to it, and tells after each what came of it and what the counters say. */
  onRing: ({ steps }) =>
    steps.map((/** @type {any[]} */ [what, ...args]) => {
      const outgoing = ring.producer.outgoing;
      const incoming = ring.consumer.incoming;
      /** @type {any} */
      let result = null;
      if (what === "write") {
        const [head, rest] = args.map(bytes);
        outgoing.write(head, rest);
      } else if (what === "announce") outgoing.announce();
      else if (what === "reserve") result = outgoing.reserve(args[0]);
      else if (what === "word") result = incoming.word(args[0]);
      else if (what === "consume") incoming.consume(args[0]);
      else {
        const target = new Uint8Array(args[1]);
        incoming.copy(target, args[0]);
        result = text(target);
      }
      return {
        result,
        readable: incoming.readable(),
        writable: outgoing.writable(),
        rung: { producer: ring.producer.bell.count(), consumer: ring.consumer.bell.count() },
      };
    }),
};

class End {
  /** @param {(heap: () => Uint8Array) => any} link */
  constructor(link) {
    this.heap = new Uint8Array(HEAP_BYTES);
    this.link = link(() => this.heap);
    this.heard = [];
  }

  /** @param {number} length */
  inbox(length) {
    return text(this.heap.slice(INBOX, INBOX + length));
  }
}

/** @type {Map<number, End>} the hub's end is number 0, a worker's has the worker's number */
let ends = new Map();
/** @type {Map<number, any>} memory of each worker's channel, or its port */
let channels = new Map();
let hubMemory = bellMemory();

const end = (/** @type {number} */ number) => /** @type {End} */ (ends.get(number));

const linkCommands = {
  /** A new hub with so many workers. */
  open: ({ mode, workers }) => {
    for (const { port } of channels.values()) port?.close();
    ends = new Map();
    channels = new Map();
    hubMemory = bellMemory();
    const shared = mode !== "port";
    const memory = arenaMemory();
    // In mode stream the arena never has room.
    const arena = (/** @type {number} */ self) =>
      mode === "ring" ? new Arena(memory, self, true) : /** @type {any} */ ({ allocate: () => 0 });
    const bell = new Doorbell(hubMemory);
    const hub = new End((heap) =>
      shared ? new RingLink(heap, hubMemory, bell, "hub", arena(0)) : new PortLink(heap),
    );
    ends.set(0, hub);
    for (let peer = 1; peer <= workers; peer++) {
      const memory = channelMemory();
      const { port1, port2 } = new MessageChannel();
      channels.set(peer, shared ? { memory } : { port: port2 });
      hub.link.open(peer, shared ? memory : port1);
      const worker = new End((heap) =>
        shared
          ? new RingLink(heap, hubMemory, new Doorbell(memory), "worker", arena(peer))
          : new PortLink(heap),
      );
      worker.link.open(peer, shared ? memory : port2);
      ends.set(peer, worker);
    }
  },

  configure: ({ at, inboxBytes }) => end(at).link.configure(MAILBOX, INBOX, inboxBytes),

  flush: ({ at, mailbox }) => {
    const batch = bytes(mailbox);
    end(at).heap.set(batch, MAILBOX);
    end(at).link.flush(batch.length);
    end(at).heap.fill(0xff, MAILBOX, MAILBOX + batch.length);
  },

  receive: ({ at, milliseconds }) => end(at).inbox(end(at).link.receive(milliseconds)),

  put: ({ at, peer, part }) => {
    const data = bytes(part);
    const token = end(at).link.put(peer, pythonBuffer(data));
    data.fill(0xff);
    return token;
  },

  view: ({ at, peer, token, length }) => text(end(at).link.view(peer, token, length)),

  drop: ({ at, peer, token }) => end(at).link.drop(peer, token),

  claim: ({ at, peer, mailbox, epoch }) => {
    const batch = bytes(mailbox);
    end(at).heap.set(batch, MAILBOX);
    return end(at).link.claim(peer, batch.length, epoch);
  },

  recall: ({ at, peer }) => end(at).link.recall(peer),

  close: ({ at, peer }) => end(at).link.close(peer),

  output: ({ at, peer, stream, data }) => end(at).link.output(peer, stream, bytes(data)),

  /** The heap grows: whoever kept a view of it holds nothing now. */
  moveHeap: ({ at }) => {
    const { buffer } = end(at).heap;
    end(at).heap = new Uint8Array(structuredClone(buffer, { transfer: [buffer] }));
  },

  bury: ({ peer, reason }) => {
    const { memory } = channels.get(peer);
    if (memory) bury(memory, hubMemory, reason);
    else end(0).link.bury(peer, reason);
  },

  /** Says to the hub, in the name of a worker, what no link would. */
  sayRaw: ({ peer, frames }) => {
    const raw = bytes(frames);
    const { port } = channels.get(peer);
    if (port) port.postMessage({ frames: raw, parts: [] });
    else end(peer).link.peers.get(peer).channel.outgoing.write(raw);
  },

  /** Posts a message that is no batch of frames; where it names none, they are empty. */
  postRaw: ({ peer, message }) => {
    const batch = typeof message === "object" ? { frames: new Uint8Array(0), ...message } : message;
    channels.get(peer).port.postMessage(batch);
  },

  /** Whether the bell rings before the time is over. */
  bell: ({ at, milliseconds }) => {
    const rung = end(at)
      .link.bell()
      .then(() => true);
    const late = new Promise((resolve) => setTimeout(resolve, milliseconds, false).unref());
    return Promise.race([rung, late]);
  },

  listen: ({ at }) => {
    const { link, heard } = end(at);
    link.listen(() => {
      for (let length = link.receive(0); length > 0; length = link.receive(0)) {
        heard.push(end(at).inbox(length));
      }
    });
  },

  /** What a listening end has heard since the last time: an inbox each. */
  heard: ({ at }) => end(at).heard.splice(0),
};

answer({ ...ringCommands, ...linkCommands });
