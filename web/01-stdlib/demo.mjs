/**
 * The standard library, measured by many workers and then by one.
 *
 * Owns the hubs and the order of events; what is known so far draws itself in some of the frames.
 * Whoever drives this page finds the promise of the latest run in `demo.finished`.
 */

import { connect } from "../page.mjs";
import { Findings } from "./findings.mjs";
import { FrameMeter } from "./frames.mjs";
import { Race } from "./race.mjs";
import { SortableTable } from "./table.mjs";

/** @typedef {import("../page.mjs").Connection} Hub */
/** @typedef {import("./findings.mjs").Module} Module */

/**
 * @typedef {object} Report
 * @property {boolean} cancelled
 * @property {string} mode
 * @property {Findings["totals"]} totals
 * @property {Findings["top"]} functions the most complex ones
 * @property {{workers: number, done: number, seconds: number, busy: number}[]} races `seconds`
 *   begin when all workers are ready; they were in tasks for `busy` seconds, together
 * @property {import("./frames.mjs").FrameReport} frames
 */

const element = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const controls = element("controls");
const table = new SortableTable(element("modules"));
const meter = new FrameMeter(draw);

/** @type {Map<number, Promise<Hub>>} by their number of workers */
const hubs = new Map();
let findings = new Findings();
/** @type {Race[]} */
let races = [];
let running = new AbortController();

/**
 * Measures modules on a number of workers.
 * @param {number} workers
 * @param {AbortSignal} signal ends it, running tasks included
 * @param {(module: Module) => void} onModule
 */
async function measure(workers, signal, onModule) {
  const crew = workers === 1 ? "1 worker" : `${workers} workers`;
  say(`Starting ${crew}`);
  const hub = await Promise.race([hubOf(workers), aborted(signal)]);
  element("mode").textContent = `mode ${hub.mode}`;
  element("mode").title = hub.reason;
  element("mode").hidden = false;
  await Promise.race([hub.warmUp(), aborted(signal)]);
  const all = await hub.run("measure:names", [], { signal });
  const names = all.slice(0, Number(controls.size.value) || all.length);
  say(`Measuring ${names.length} modules on ${crew}`);
  const race = new Race(element("races"), crew, workers, names.length);
  races.push(race);
  await Promise.all(
    names.map(async (/** @type {string} */ name) => {
      const module = await hub.run("measure:measure", [name], { signal });
      race.count(module);
      onModule(module);
    }),
  );
  return hub.mode;
}

/**
 * @param {number} workers
 * @returns {Promise<Hub>} the one of an earlier run, if there is one
 */
function hubOf(workers) {
  const hub = hubs.get(workers) ?? connect({ size: workers, modules: ["measure.py"] });
  hubs.set(workers, hub);
  return hub;
}

/** @param {number} size */
function closeHub(size) {
  hubs.get(size)?.then(
    (hub) => hub.close(),
    () => {},
  );
  hubs.delete(size);
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<never>}
 */
function aborted(signal) {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/**
 * Many workers, then one.
 * @param {AbortSignal} signal
 * @returns {Promise<string>} the mode
 */
async function compare(signal) {
  const workers = controls.workers.valueAsNumber;
  for (const size of hubs.keys()) {
    if (size !== workers && size !== 1) closeHub(size);
  }
  const mode = await measure(workers, signal, (module) => findings.add(module));
  const filled = table.show(findings.records());
  if (workers > 1) await measure(1, signal, () => {});
  await filled;
  return mode;
}

/** @returns {Promise<Report>} */
async function run() {
  running = new AbortController();
  const { signal } = running;
  findings = new Findings();
  races = [];
  for (const id of ["races", "comparison", "error"]) element(id).replaceChildren();
  element("speedup").textContent = "–";
  element("error").hidden = true;
  setBusy(true);
  meter.reset();
  let mode = "";
  try {
    await table.show([]);
    mode = await compare(signal);
    say(`Measured ${findings.totals.modules} modules`);
    showSpeedup();
  } catch (error) {
    if (!signal.aborted) {
      showError(error);
      throw error;
    }
    const { done, total } = races.at(-1) ?? { done: 0, total: 0 };
    say(total ? `Cancelled after ${done} of ${total} modules` : "Cancelled");
  } finally {
    for (const race of races) race.finish();
    draw();
    setBusy(false);
  }
  return {
    cancelled: signal.aborted,
    mode,
    totals: findings.totals,
    functions: findings.top,
    races: races.map(({ workers, done, seconds, busy }) => ({ workers, done, seconds, busy })),
    frames: meter.report(),
  };
}

/** @param {string} text */
function say(text) {
  element("status").textContent = text;
}

/** @param {boolean} busy */
function setBusy(busy) {
  element("run").disabled = busy;
  element("cancel").disabled = !busy;
}

/** @param {any} error */
function showError(error) {
  running.abort();
  for (const size of hubs.keys()) closeHub(size);
  say("Failed");
  element("error").textContent = error.pythonTraceback || `${error.name}: ${error.message}`;
  element("error").hidden = false;
}

function showSpeedup() {
  const [many, one] = races;
  if (!many || !one) {
    element("comparison").textContent = "needs more than one worker";
    return;
  }
  element("speedup").textContent = `${(one.seconds / many.seconds).toFixed(2)}×`;
  element("comparison").textContent = `${one.seconds.toFixed(2)} s → ${many.seconds.toFixed(2)} s`;
}

function draw() {
  for (const race of races) race.draw();
  findings.draw();
  meter.draw();
}

controls.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const finished = run();
  finished.catch(() => {}); // the page shows it
  Object.assign(globalThis, { demo: { finished } });
});
element("cancel").addEventListener("click", () => running.abort());
element("source").addEventListener("toggle", async () => {
  const response = await fetch("measure.py");
  element("source").querySelector("pre").textContent = await response.text();
});
const cores = navigator.hardwareConcurrency;
element("cores").textContent = cores === 1 ? "1 core" : `${cores} cores`;
const wanted = new URLSearchParams(location.search);
controls.workers.value = wanted.get("workers") ?? Math.min(cores, 8);
controls.size.value = wanted.get("modules") ?? "";
controls.requestSubmit();
