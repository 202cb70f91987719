/**
 * A bar that is drawn in each frame from what workers write, and a button that stops them.
 *
 * Owns the order of events. Whoever drives this page finds the promise of the latest run in
 * `demo.finished`.
 */

import { connect } from "../page.mjs";

/** A worker gets so many ranges, one after the other. */
const RANGES_PER_WORKER = 8;

const element = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const controls = element("controls");
const text = new Intl.NumberFormat("en");

const hub = await connect({ modules: ["primes.py"] });
await hub.warmUp();
const workers = Math.min(navigator.hardwareConcurrency, 8);
element("mode").textContent = `mode ${hub.mode}`;
element("mode").title = hub.reason;
element("mode").hidden = false;
say(`${workers} workers are ready`);
controls.run.disabled = false;

/** @param {string} status */
function say(status) {
  element("status").textContent = status;
}

/**
 * Counts primes below a number.
 * @param {number} stop
 */
async function run(stop) {
  const progress = await hub.sharedProgress(stop);
  const found = await hub.sharedCounter();
  const cancellation = await hub.sharedCancellation();
  element("cancel").onclick = () => cancellation.cancel();
  controls.run.disabled = true;
  controls.cancel.disabled = false;
  say("Counting");

  const began = performance.now();
  let frames = 0;
  let over = false;
  const draw = () => {
    const done = progress.get();
    const seconds = (performance.now() - began) / 1000;
    element("bar").value = progress.percent;
    element("done").textContent = text.format(done);
    element("found").textContent = text.format(found.get());
    element("frames").textContent = text.format(++frames);
    element("rate").textContent = text.format(Math.round(done / seconds));
    if (!over) requestAnimationFrame(draw);
  };
  requestAnimationFrame(draw);

  const size = Math.ceil(stop / (workers * RANGES_PER_WORKER));
  const starts = Array.from({ length: Math.ceil(stop / size) }, (_, i) => i * size);
  const counts = await Promise.all(
    starts.map((start) => {
      const end = Math.min(start + size, stop);
      return hub.run("primes:count", [start, end, progress, found, cancellation]);
    }),
  );
  // Without shared memory, what workers did last may still be on its way.
  await Promise.all([progress.refresh(), found.refresh()]);
  over = true;
  draw();
  controls.run.disabled = false;
  controls.cancel.disabled = true;
  const seconds = (performance.now() - began) / 1000;
  const looked = counts.reduce((sum, count) => sum + count, 0);
  const how = cancellation.cancelled ? "Cancelled" : "Done";
  say(`${how} after ${seconds.toFixed(1)} s`);
  return { cancelled: cancellation.cancelled, looked, primes: found.get(), frames, mode: hub.mode };
}

const demo = /** @type {any} */ (globalThis).demo ?? {};
Object.assign(globalThis, { demo });

controls.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  demo.finished = run(Number(element("stop").value));
});
