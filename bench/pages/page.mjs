/**
 * What the pages of the benchmarks can do, by name: `ask("exec", "1 + 1")`.
 *
 * Owns the connection to pyworkers, the peers' workers, and the failure of either.
 */

import { connect } from "../page.mjs";
import * as Comlink from "./comlink.mjs";
import { FrameMeter } from "./frames.mjs";
import { PINGPONG_BYTES } from "./pingpong.mjs";
import { awaited } from "./timing.mjs";

const LIMIT_MS = 120_000;

/** @type {(error: Error) => void} */
let fail;
const failure = new Promise((_, reject) => {
  fail = reject;
});
failure.catch(() => {});

/** @type {import("../page.mjs").Connection} */
let py;

/** @type {Record<string, any>} workers, wrapped by comlink */
const peers = {};

/** @type {Worker[]} that load Pyodide and do nothing else */
const plain = [];

/**
 * @param {string} url
 * @returns {Worker} whose errors fail what is asked for
 */
function start(url) {
  const worker = new Worker(url, { type: "module" });
  worker.onerror = ({ message }) => fail(new Error(`${url}: ${message || "it did not load"}`));
  return worker;
}

/** @type {Record<string, (...args: any[]) => Promise<any>>} */
const commands = {
  /** @param {any} options of pyworkers */
  async connect(options) {
    py = await connect(options);
  },

  /** @param {string} source of Python, for the hub */
  exec: (source) => py.exec(source),

  /**
   * Times calls from the page through pyworkers.
   * @param {number} calls
   * @param {string} target
   * @param {unknown[]} args
   */
  run: (calls, target, args) => awaited(calls, () => py.run(target, args)),

  /** @param {Record<string, string>} kinds of peers to start, by name: "script", "python", "link" */
  async peers(kinds) {
    const started = Object.entries(kinds).map(async ([name, kind]) => {
      peers[name] = Comlink.wrap(start(`./${kind}.mjs`));
      await peers[name].open();
    });
    await Promise.all(started);
  },

  /**
   * Connects two peers by ports: one for comlink, one for bare messages.
   * @param {string} caller
   * @param {string} answerer
   */
  async join(caller, answerer) {
    const [calls, bare] = [new MessageChannel(), new MessageChannel()];
    const moved = (/** @type {MessagePort} */ port) => Comlink.transfer(port, [port]);
    await peers[answerer].answer(moved(calls.port2), moved(bare.port2));
    await peers[caller].join(moved(calls.port1), moved(bare.port1));
  },

  /**
   * Times calls from the page through comlink.
   * @param {number} calls
   * @param {string} name of a peer
   * @param {string} method
   * @param {unknown[]} args
   */
  comlink: (calls, name, method, args) => awaited(calls, () => peers[name][method](...args)),

  /**
   * Has a peer do something.
   * @param {string} name
   * @param {string} method
   * @param {...any} args
   */
  peer: (name, method, ...args) => peers[name][method](...args),

  /**
   * Has two peers exchange a counter in shared memory.
   * @param {string} caller
   * @param {string} answerer
   * @param {number} calls
   */
  async pingpong(caller, answerer, calls) {
    const memory = new SharedArrayBuffer(PINGPONG_BYTES);
    const answered = peers[answerer].pong(memory, calls);
    const times = await peers[caller].ping(memory, calls);
    await answered;
    return times;
  },

  /**
   * Connects two links of the shim.
   * @param {string} sender
   * @param {string} receiver
   */
  async link(sender, receiver) {
    const memories = await peers[sender].hub();
    await peers[receiver].worker(memories);
  },

  /**
   * Sends frames from one link to the other.
   * @param {string} sender
   * @param {string} receiver
   * @param {number} count
   * @param {number} bytes of each payload
   * @returns {Promise<number>} seconds
   */
  async frames(sender, receiver, count, bytes) {
    const [seconds] = await Promise.all([
      peers[sender].send(count, bytes),
      peers[receiver].receive(count),
    ]);
    return seconds;
  },

  /**
   * Starts workers that load Pyodide and do nothing else.
   * @param {number} count
   * @returns {Promise<number>} seconds until each has answered
   */
  async plain(count) {
    const started = performance.now();
    const answers = Array.from({ length: count }, () => {
      const worker = start("./plain.mjs");
      plain.push(worker);
      return new Promise((resolve) => {
        worker.onmessage = resolve;
      });
    });
    await Promise.all(answers);
    return (performance.now() - started) / 1000;
  },

  /** Ends the worker that `plain` started last. */
  async endPlain() {
    plain.pop()?.terminate();
  },

  /**
   * Watches the page's thread while results stream in.
   * @param {number} milliseconds
   * @param {string[]} load each asks one worker for result after result: the names of peers, or
   *   "pyworkers" for any worker of the hub
   * @param {number} ahead how many calls are under way for each of them
   * @param {number} spin seconds that each call computes
   */
  async watch(milliseconds, load, ahead, spin) {
    const meter = new FrameMeter();
    let results = 0;
    const stream = async (/** @type {() => Promise<unknown>} */ call) => {
      while (!meter.over) {
        await call();
        results++;
      }
    };
    const calls = load.map((name) =>
      name === "pyworkers" ? () => py.run("workload:spin", [spin]) : () => peers[name].spin(spin),
    );
    const streams = calls.flatMap((call) => Array.from({ length: ahead }, () => stream(call)));
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    const counted = results;
    const report = meter.stop();
    await Promise.all(streams);
    return { ...report, results: (counted / milliseconds) * 1000 };
  },
};

Object.assign(globalThis, {
  /**
   * @param {string} command
   * @param {...any} args
   */
  ask: (command, ...args) => {
    let timer = 0;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${command} took too long`)), LIMIT_MS);
    });
    const done = Promise.race([commands[command](...args), failure, late]);
    return done.finally(() => clearTimeout(timer));
  },
});
