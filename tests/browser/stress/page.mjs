/**
 * The page of the stress: the broker of its workers, and who ends some of them.
 */

import { Broker, serveBroker } from "../../../js_shim/broker.mjs";
import { startThread } from "../../../js_shim/thread.mjs";
import { randomNumbers } from "./random_numbers.mjs";

const THREAD = new URL("thread.mjs", import.meta.url).href;

/** A worker is ended at most so long after another one. */
const MAX_PAUSE_MS = 60;

/** Threads by the names that their hub gave them, as the browser sees them. */
const threads = new Map();
const Plain = globalThis.Worker;
globalThis.Worker = class extends Plain {
  /**
   * @param {string} url
   * @param {WorkerOptions} options
   */
  constructor(url, options) {
    super(url, options);
    threads.set(options.name, this);
  }
};

/**
 * Runs one hub and its workers to their end.
 * @param {{mode: string, workers: number, frames: number, deaths: number, seed: number,
 *   partShare: number}} options `frames`: for each worker and way; with deaths, they talk until
 *   so many threads were ended
 * @returns {Promise<any>} what the hub has counted
 */
export function stress(options) {
  const { deaths, seed } = options;
  const plan = { ...options, frames: deaths ? Number.POSITIVE_INFINITY : options.frames };
  const random = randomNumbers(~seed);
  const broker = new Broker(THREAD, async () => /** @type {any} */ (plan));
  const ours = new MessageChannel();
  const theirs = new MessageChannel();
  serveBroker(theirs.port1, broker);
  /** @type {Set<number>} */
  const talking = new Set();
  let timer = 0;
  const kill = () => {
    const victim = [...talking][random(talking.size)];
    if (victim !== undefined) {
      talking.delete(victim);
      // As the browser ends it: its creator is not told.
      threads.get(`stress ${victim}`).terminate();
    }
    timer = setTimeout(kill, random(MAX_PAUSE_MS));
  };
  return new Promise((resolve, reject) => {
    const hub = startThread(THREAD, "stress hub", { died: (reason) => reject(new Error(reason)) });
    ours.port1.onmessage = ({ data }) => {
      if (data.kind === "talks") talking.add(data.peer);
      else talking.delete(data.peer);
      if (data.kind === "stops") clearTimeout(timer);
      if (data.kind === "done") resolve(data.report);
    };
    const init = { role: "hub", ...plan, page: ours.port2, broker: theirs.port2 };
    hub.post(init, [ours.port2, theirs.port2]);
    if (deaths) kill();
  }).finally(() => {
    clearTimeout(timer);
    broker.close();
  });
}
