/**
 * Takes the steps of some threads at one queue, in all orders, or in some that chance finds.
 *
 * Each agent is a function over the real code of `queues.mjs`. Its next step is taken by calling it
 * anew: what it has done before is answered from its log, the next operation on shared memory is
 * done and noted, and then it is abandoned by an exception. So there is nothing to be kept of it
 * but the log, and from each state, which is the memory and all logs, every agent can be stepped.
 * States that were met before are not explored again.
 *
 * A step is one operation of Atomics on a word that others look at, a copy into or out of the ring,
 * the handing over of a block, or a death. Reads and writes of words that only the owner of a side
 * uses go with the step before. A thread waits without a time limit, so that a wake-up which is
 * lost is seen: nobody can go on. Only the waits of those who have to notice a death have an end.
 */

import { createHash } from "node:crypto";
import { Arena, arenaMemory, BROKER, HUB } from "../../js_shim/arena.mjs";
import {
  CONSUMER,
  FINISHED,
  GETS,
  PEAK,
  PRODUCER,
  PUTS,
  RING,
  TAILS,
} from "../../js_shim/queue_ring.mjs";
import { Consumer, ENDED, Joiner, Producer, TOOK_BLOCK } from "../../js_shim/queues.mjs";
import { randomNumbers } from "../browser/stress/random_numbers.mjs";

const real = Atomics;
const BOX_BYTES = 256;

/** Ends a call of an agent that has done its step. */
class Pause extends Error {}
/** A state that must not be. */
export class Wrong extends Error {}

/**
 * What an agent has done: results of its operations, in order.
 * @typedef {{log: any[], parked: string | undefined, isDead: boolean, told: any}} Agent
 */

/** @type {{agent: Agent, at: number, steps: number, isOver: boolean} | undefined} */
let now;
/** @type {Explorer} */
let explorer;

/**
 * Does an operation of the agent that is being called, or answers it from its log.
 * @template T
 * @param {boolean} isStep whether others may come before it
 * @param {() => T} operation
 * @returns {T}
 */
function step(isStep, operation) {
  if (!now) return operation();
  if (now.isOver) throw new Pause();
  const { agent } = now;
  if (now.at < agent.log.length) return agent.log[now.at++];
  if (isStep && now.steps++ > 0) {
    now.isOver = true;
    throw new Pause();
  }
  const call = now;
  now = undefined;
  try {
    const result = operation();
    agent.log.push(result);
    call.at++;
    return result;
  } catch (error) {
    call.isOver = true;
    throw error;
  } finally {
    now = call;
  }
}

/** Has the operations of agents be steps. */
function teachAtomics() {
  const seen = new Set([PUTS, GETS, FINISHED, TAILS, TAILS + 1]);
  for (const state of [PUTS, GETS, FINISHED]) seen.add(state + 1);
  const isSeen = (/** @type {number} */ word) =>
    word < 0 || word >= RING / 4 ? "elsewhere" : seen.has(word);
  const taught = Object.getOwnPropertyNames(real).map((name) => [
    name,
    (
      /** @type {Int32Array} */ words,
      /** @type {number} */ index,
      /** @type {any[]} */ ...rest
    ) => {
      const where = isSeen(index - (explorer?.queue ?? 0) / 4);
      if (name === "notify") {
        return step(false, () => explorer.notify(index, rest[0] ?? Number.POSITIVE_INFINITY));
      }
      const done = () => /** @type {any} */ (real)[name](words, index, ...rest);
      return step(where === "elsewhere" ? name !== "load" : where, done);
    },
  ]);
  globalThis.Atomics = /** @type {any} */ (Object.fromEntries(taught));
  globalThis.performance.now = () => 0;
}

/**
 * An end of the queue whose plain accesses are steps, too.
 * @template {new (...args: any[]) => any} T
 * @param {T} Base
 */
const watched = (Base) =>
  class extends Base {
    /** Waits until a side is free, or its owner has ended; then that is one step. */
    own(/** @type {number} */ side, /** @type {number} */ losses) {
      return step(true, () => {
        const { words, first, token } = this;
        const owner = real.load(words, first + side);
        if (owner !== 0 && this.isAlive(owner)) {
          explorer.park(`${side} is free`);
          throw new Pause();
        }
        if (owner !== 0) real.add(words, first + losses, 1);
        real.store(words, first + side, token);
        return true;
      });
    }
    disown(/** @type {number} */ side) {
      step(true, () => {
        real.store(this.words, this.first + side, 0);
        explorer.release(`${side} is free`);
      });
    }
    depth() {
      return step(true, () => super.depth());
    }
    word(/** @type {number} */ position) {
      return step(false, () => super.word(position));
    }
    setWord(/** @type {number} */ position, /** @type {number} */ value) {
      return step(false, () => super.setWord(position, value));
    }
    copyOut(
      /** @type {number} */ position,
      /** @type {Uint8Array} */ target,
      /** @type {number} */ at,
      /** @type {number} */ length,
    ) {
      const bytes = step(true, () => {
        const found = new Uint8Array(length);
        super.copyOut(position, found, 0, length);
        return [...found];
      });
      target.set(bytes, at);
    }
    copyIn(/** @type {any[]} */ ...args) {
      return step(true, () => super.copyIn(...args));
    }
    hand(/** @type {any[]} */ ...args) {
      return step(true, () => super.hand(...args));
    }
    /**
     * Waits as `acquire` does, without its limits. Once it is known what came of an attempt, the
     * agent forgets how.
     * @param {() => number} attempt
     */
    until(attempt) {
      const call = /** @type {NonNullable<typeof now>} */ (now);
      const { log } = call.agent;
      const box = this.heap();
      const start = call.at;
      const known = log[start] ?? {};
      if (known.got !== undefined) {
        call.at++;
        box.set(known.box);
        return known.got;
      }
      const settle = (/** @type {any} */ entry) => {
        log.length = start;
        log.push(entry);
        call.at = start + 1;
      };
      let got = 0;
      if (known.hasEntered) call.at++;
      else {
        got = attempt();
        if (got === 0) {
          this.enter();
          settle({ hasEntered: true });
        }
      }
      for (let hasEntered = got === 0; hasEntered; ) {
        const before = call.at;
        got = attempt();
        if (got !== 0) {
          this.leave();
          break;
        }
        const { words, at, seen } = this;
        step(true, () => {
          if (real.load(words, at) === seen) explorer.park(`${at} is notified`);
        });
        log.length = before;
        call.at = before;
      }
      settle({ got, box: [...box.subarray(0, 64)] });
      return got;
    }
  };

const WatchedProducer = watched(Producer);
const WatchedConsumer = watched(Consumer);
const WatchedJoiner = watched(Joiner);

export class Explorer {
  /**
   * @param {any} scene
   * @param {number} limit of states
   * @param {number} seed
   */
  constructor(scene, limit, seed) {
    this.scene = scene;
    this.limit = limit;
    this.random = randomNumbers(seed);
    this.memory = arenaMemory();
    this.hub = new Arena(this.memory, HUB, false);
    this.broker = new Arena(this.memory, BROKER, false);
    this.queue = this.hub.allocate(RING + scene.capacity, HUB);
    this.hub.bytes(this.queue, RING + scene.capacity).fill(0);
    /** @type {Agent[]} */
    this.agents = [];
    /** @type {any[]} */
    this.kits = [];
    this.deaths = 0;
    /** How often waits were over, of those who have to notice a death. */
    this.times = 0;
    /** @type {Set<string>} */
    this.met = new Set();
    /** @type {string[]} */
    this.wrong = [];
    this.ends = 0;
  }

  /** @param {string} what */
  park(what) {
    /** @type {Agent} */ (this.current).parked = what;
  }

  /** @param {string} what has happened */
  release(what) {
    for (const agent of this.agents) if (agent.parked === what) agent.parked = undefined;
  }

  /**
   * Wakes those who wait for a word; which of them, the engine decides, here the first.
   * @param {number} index
   * @param {number} count
   */
  notify(index, count) {
    let left = count;
    for (const agent of this.agents) {
      if (left <= 0 || agent.parked !== `${index} is notified`) continue;
      agent.parked = undefined;
      left--;
    }
    return count - left;
  }

  run() {
    const { scene } = this;
    new Producer(this.hub, this.queue, undefined, () => new Uint8Array(0)).initialize(
      scene.capacity,
      scene.maxsize ?? 0,
    );
    for (let i = 0; i < scene.agents.length; i++) {
      new Arena(this.memory, i + 1, false).sit();
      this.agents.push({ log: [], parked: undefined, isDead: false, told: undefined });
    }
    scene.prepare?.(this);
    this.explore([]);
    return { states: this.met.size, ends: this.ends, wrong: this.wrong.slice(0, 5) };
  }

  /** The part of the region that is in use. */
  bytes() {
    // Behind the queue and the seats there are two small blocks at the most.
    return Buffer.from(this.memory.buffer, 0, this.queue + RING + this.scene.capacity + 4_400);
  }

  /** @returns {string} what tells this state from others */
  key() {
    const bytes = Buffer.from(this.bytes());
    const words = new Int32Array(bytes.buffer, bytes.byteOffset + this.queue, RING / 4);
    // How often there were waits, and what was counted, changes nothing of what can happen.
    for (const state of [PUTS, GETS, FINISHED]) words[state + 3] = 0;
    words.fill(0, PEAK, PEAK + 3);
    return createHash("md5")
      .update(bytes)
      .update(JSON.stringify(this.agents.map(({ log, parked, isDead }) => [log, parked, isDead])))
      .digest("base64");
  }

  save() {
    return {
      bytes: Buffer.from(this.bytes()),
      agents: this.agents.map((agent) => ({ ...agent, log: [...agent.log] })),
      deaths: this.deaths,
      times: this.times,
    };
  }

  /** @param {ReturnType<Explorer["save"]>} state */
  restore({ bytes, agents, deaths, times }) {
    this.bytes().set(bytes);
    this.agents = agents.map((agent) => ({ ...agent, log: [...agent.log] }));
    this.deaths = deaths;
    this.times = times;
  }

  /** @param {string[]} path steps so far */
  explore(path) {
    const key = this.key();
    if (this.met.has(key) || this.wrong.length > 4 || this.met.size === this.limit) return;
    this.met.add(key);
    const able = this.agents.flatMap((agent, i) =>
      agent.isDead || agent.told !== undefined || agent.parked ? [] : [i],
    );
    const state = this.save();
    if (able.length === 0) {
      this.ends++;
      const stuck = this.agents.filter((agent) => !agent.isDead && agent.told === undefined);
      if (stuck.length > 0 && this.times < this.deaths) {
        // The time of their wait is over: each tries again, as it does every 50 ms.
        for (const agent of this.agents) agent.parked = undefined;
        this.times++;
        this.explore([...path, "time"]);
        this.restore(state);
        return;
      }
      this.check(path, () => {
        for (const { parked } of stuck) this.#checkWait(String(parked));
        this.scene.check?.(this, this.agents);
      });
      this.restore(state);
      return;
    }
    const choices = able.map((i) => ({ name: `${i}`, action: () => this.advance(i) }));
    if (this.deaths < (this.scene.deaths ?? 0)) {
      for (const [i, agent] of this.agents.entries()) {
        if (agent.isDead || (agent.told !== undefined && !this.scene.endsLater)) continue;
        choices.push({ name: `death of ${i}`, action: () => this.kill(i) });
      }
    }
    while (choices.length > 0) {
      const [{ name, action }] = choices.splice(this.random(choices.length), 1);
      this.check([...path, name], action);
      this.explore([...path, name]);
      this.restore(state);
    }
  }

  /** @param {number} i which agent ends */
  kill(i) {
    /** @type {Agent} */ (this.agents[i]).isDead = true;
    this.deaths++;
    this.broker.sweep(i + 1);
    for (const side of [PRODUCER, CONSUMER]) this.release(`${side} is free`);
  }

  /**
   * Nobody waits for ever but for one who has ended, and not for what can be had.
   * @param {string} parked
   */
  #checkWait(parked) {
    const { queue, hub, deaths } = this;
    const depth = new Producer(hub, queue, undefined, () => new Uint8Array(0)).depth();
    const waitsForItem = parked === `${queue / 4 + PUTS} is notified`;
    if (deaths === 0 || (waitsForItem ? depth > 0 : depth === 0)) {
      throw new Wrong(`an agent waits for ever until ${parked}, with ${depth} items`);
    }
  }

  /**
   * @param {string[]} path
   * @param {() => void} action
   */
  check(path, action) {
    try {
      action();
    } catch (error) {
      if (this.wrong.length < 5) this.wrong.push(`${error}: ${path.join(" ")}`);
    }
  }

  /** @param {number} i which agent takes its next step */
  advance(i) {
    const agent = /** @type {Agent} */ (this.agents[i]);
    this.current = agent;
    const call = { agent, at: 0, steps: 0, isOver: false };
    try {
      const told = this.scene.agents[i](this.tools(i + 1, call));
      agent.told = told ?? null;
    } catch (error) {
      if (!(error instanceof Pause)) throw error;
    } finally {
      now = undefined;
    }
  }

  /**
   * What an agent works with. Its objects keep nothing from one call to the next.
   * @param {number} peer
   * @param {any} call
   */
  tools(peer, call) {
    this.kits[peer] ??= this.kit(peer);
    // What another order of steps has left there would tell states apart that are the same.
    this.kits[peer].box.fill(0);
    now = call;
    return this.kits[peer];
  }

  /** @param {number} peer */
  kit(peer) {
    const { memory, queue } = this;
    const arena = new Arena(memory, peer, false);
    const box = new Uint8Array(BOX_BYTES);
    const view = new DataView(box.buffer);
    const heap = () => box;
    arena.sit();
    // Those words are settled: no step.
    const lengthOf = arena.lengthOf.bind(arena);
    arena.lengthOf = (...args) => step(false, () => lengthOf(...args));
    const producer = new WatchedProducer(arena, queue, undefined, heap);
    const consumer = new WatchedConsumer(arena, queue, undefined, heap);
    const joiner = new WatchedJoiner(arena, queue, undefined, heap);
    for (const end of [producer, consumer]) {
      end.configure(0, BOX_BYTES);
      end.bytes();
    }
    return {
      box,
      /** Puts items of one byte each, repeated. */
      put(/** @type {[number, number][]} */ ...items) {
        let done = 0;
        while (done < items.length) {
          const got = producer.until(() => {
            let at = 0;
            for (const [byte, length] of items.slice(done)) {
              view.setUint32(at, length, true);
              box.fill(byte, at + 4, at + 4 + length);
              at += 4 + ((length + 3) & ~3);
            }
            return producer.putMany(at, 0);
          });
          if (got === ENDED) return done;
          done += got;
        }
        return done;
      },
      tryPut(/** @type {number} */ byte, /** @type {number} */ length) {
        box.fill(byte, 0, length);
        return producer.put(length);
      },
      /** Puts a block whose byte tells it. */
      putBlock(/** @type {number} */ byte) {
        const offset = step(false, () => {
          const made = arena.allocate(32, peer);
          arena.bytes(made, 32).fill(byte);
          return made;
        });
        return producer.until(() => {
          view.setUint32(0, 0x80000004, true);
          view.setUint32(4, offset, true);
          return producer.putMany(8, 0);
        });
      },
      /** Takes one item, and returns its bytes: one for each, if all of an item are the same. */
      get(/** @type {number} */ most = 0) {
        const got = consumer.until(() =>
          most === 0 ? consumer.takeOne() : consumer.takeMany(most),
        );
        if (got === ENDED) return "end";
        if (got === TOOK_BLOCK) return [this.open(view.getUint32(0, true))];
        if (most === 0) return [one(box.subarray(0, got - 1))];
        const items = [];
        for (let at = 0; at < got; ) {
          const length = view.getUint32(at, true);
          items.push(one(box.subarray(at + 4, at + 4 + length)));
          at += 4 + ((length + 3) & ~3);
        }
        return items;
      },
      open(/** @type {number} */ offset) {
        return step(true, () => {
          if (arena.lengthOf(offset, peer) !== 32) throw new Wrong("a block of another length");
          const byte = one(arena.bytes(offset + 8, 24));
          arena.free(offset);
          return byte;
        });
      },
      close: () => producer.close(),
      taskDone: () => consumer.taskDone(),
      join: () => joiner.until(() => joiner.attempt(0)),
    };
  }
}

/** @param {Uint8Array} bytes */
export function one(bytes) {
  if (bytes.some((byte) => byte !== bytes[0])) throw new Wrong(`torn: ${bytes}`);
  return bytes[0];
}

teachAtomics();

/**
 * @param {any} scene
 * @param {number} limit of states
 * @param {number} seed
 * @returns how many states there were, and what went wrong
 */
export function explored(scene, limit, seed) {
  explorer = new Explorer(scene, limit, seed);
  return explorer.run();
}
