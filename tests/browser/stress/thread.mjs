/**
 * The threads of the stress: a hub, or one of its workers, without any Python.
 *
 * They are made, wired up and ended by the real shim: `Hub` and `Broker` as they are, and what
 * `worker.mjs` does to open its link. What they say stands in `talk.mjs`.
 */

import { HUB } from "../../../js_shim/arena.mjs";
import { RemoteBroker } from "../../../js_shim/broker.mjs";
import { shim } from "../../../js_shim/hub.mjs";
import { PortLink } from "../../../js_shim/port_link.mjs";
import { Kind } from "../../../js_shim/protocol.mjs";
import { Doorbell } from "../../../js_shim/ring.mjs";
import { RingLink } from "../../../js_shim/ring_link.mjs";
import { entered } from "../../../js_shim/thread.mjs";
import { randomNumbers } from "./random_numbers.mjs";
import { HalfFull, LATE_MS, Talker } from "./talk.mjs";

/** The hub ends a worker by itself once it has heard so many frames, at the most. */
const FRAMES_PER_KILL = 2_000;
/** After the last death, each worker says so many frames more. */
const FRAMES_AFTER = 3_000;
/** This worker lives to the end. */
const SURVIVOR = 1;
const ENDING_MS = 5;

/** @param {any} link */
const isSent = (link) => [...link.peers.values()].every((peer) => !peer.backlog?.length);

/**
 * @param {any} link
 * @returns {number} how many parts and batches it still holds
 */
const leftovers = (link) =>
  [...link.peers.values()].reduce(
    (sum, peer) =>
      sum + peer.parts.size + (peer.filled?.size ?? 0) + (peer.backlog ?? peer.incoming).length,
    0,
  );

/**
 * @param {Talker} talker
 * @param {any} link
 * @param {() => boolean} isOver
 * @param {(reason: string) => void} fatal
 */
async function converse(talker, link, isOver, fatal) {
  const over = new Error("over");
  talker.watch(isOver, fatal);
  const step = () => {
    if (talker.turn(isOver)) throw over;
  };
  try {
    step();
    await link.listen(step);
  } catch (error) {
    if (error !== over) throw error;
  }
}

/**
 * @param {any} message
 * @param {(reason: string) => void} fatal
 */
async function runWorker({ peer, channel, assets }, fatal) {
  const { frames, seed, partShare } = assets;
  const random = randomNumbers(seed + 7_919 * peer);
  const isShared = Boolean(channel.memory);
  const talker = new Talker({ random, canBlock: isShared, partShare });
  const heap = () => talker.heap;
  let link;
  if (isShared) {
    const arena = new HalfFull(channel.arena, peer, true).use(random);
    link = new RingLink(heap, channel.hub, new Doorbell(channel.memory), "worker", arena);
    link.open(peer, channel.memory, channel.port);
  } else {
    link = new PortLink(heap);
    link.open(peer, channel.port);
  }
  talker.use(link);
  talker.add(peer, frames);
  const side = talker.sides.get(peer);
  let told = false;
  const isOver = () => {
    if (side.isOver() && !told) {
      told = true;
      const { sent, received } = side;
      const { waits, turns } = talker;
      talker.tell(peer, Kind.PROGRESS, { sent, received, waits, turns });
      talker.flush();
    }
    return told && isSent(link);
  };
  await converse(talker, link, isOver, fatal);
}

/**
 * @param {any} message
 * @param {(reason: string) => void} fatal
 */
async function runHub({ page, broker, mode, workers, frames, deaths, seed, partShare }, fatal) {
  const random = randomNumbers(seed);
  const canBlock = mode === "shared";
  const talker = new Talker({ random, canBlock, partShare });
  const pyodide = {
    _module: {
      get HEAPU8() {
        return talker.heap;
      },
    },
  };
  const hub = new shim.Hub(pyodide, mode, canBlock, new RemoteBroker(broker));
  const { link } = hub;
  if (link instanceof RingLink) {
    link.arena = new HalfFull(link.arena.memory, HUB, canBlock).use(random);
  }
  talker.use(link);
  let peers = 0;
  let died = 0;
  let ended = 0;
  let told = false;
  let stopping = false;
  const spawn = () => {
    talker.add(++peers, frames);
    hub.spawn(peers, `stress ${peers}`, new Uint8Array(0));
  };
  const replace = (/** @type {number} */ peer) => {
    hub.terminate(peer);
    page.postMessage({ kind: "gone", peer });
    if (!stopping) spawn();
  };
  /** Workers that the hub will end, and after how many frames. @type {Map<number, number>} */
  const victims = new Map();
  talker.onfirst = (peer) => {
    if (peer === SURVIVOR) return;
    // Every other one is ended by its hub, in the midst of what it says.
    if (random(2)) page.postMessage({ kind: "talks", peer });
    else victims.set(peer, 1 + random(FRAMES_PER_KILL));
  };
  if (deaths) {
    talker.onlost = (peer, reason) => {
      if (reason !== "its thread ended") throw new Error(`peer ${peer} is lost: ${reason}`);
      died++;
      replace(peer);
    };
  }
  const end = () => {
    for (const [peer, after] of victims) {
      const side = talker.sides.get(peer);
      if (side && side.received.frames < after) continue;
      victims.delete(peer);
      if (!side || died + ended >= deaths) continue;
      talker.sides.delete(peer);
      ended++;
      replace(peer);
    }
    if (died + ended < deaths) return;
    if (!told) page.postMessage({ kind: "stops" });
    told = true;
    const sides = [...talker.sides.values()];
    if (sides.some((side) => side.received.frames < FRAMES_AFTER)) return;
    stopping = true;
    for (const [peer, side] of talker.sides) {
      talker.stop(peer, Number.POSITIVE_INFINITY);
      talker.tell(peer, Kind.FORGET, side.sent);
    }
    talker.flush();
  };
  const isOver = () => {
    if (deaths && !stopping) end();
    return [...talker.sides.values()].every((side) => side.report && side.isOver());
  };
  for (let i = 0; i < workers; i++) spawn();
  await converse(talker, link, isOver, fatal);
  const left = leftovers(link);
  const sides = [...talker.sides.values()].map(({ sent, received, report }) => ({
    sent,
    received,
    report,
  }));
  const { waits, turns } = talker;
  const arena = await settled(hub);
  page.postMessage({ kind: "done", report: { sides, waits, turns, died, ended, left, arena } });
}

/**
 * @param {InstanceType<typeof shim.Hub>} hub
 * @returns {Promise<any>} what the arena holds when all ended workers were swept
 */
async function settled(hub) {
  const limit = performance.now() + LATE_MS;
  let found = hub.statistics();
  while (hub.ending.size > 0) {
    if (performance.now() > limit) throw new Error(`${hub.ending.size} workers were not swept`);
    await new Promise((resolve) => setTimeout(resolve, ENDING_MS));
    found = hub.statistics();
  }
  return found;
}

const { message, fatal } = await entered();
try {
  await (message.role === "worker" ? runWorker : runHub)(message, fatal);
} catch (error) {
  fatal(`${error instanceof Error ? error.stack : error}`);
}
