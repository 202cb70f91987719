/**
 * Where there is no waitAsync, a worker is ended after it has taken upon itself to wake the hub by a
 * message, and before it sends that: `node half_ring.mjs SEED`; nothing here is random. Prints, as
 * JSON, whether the hub looked again, and whether it then heard another worker.
 */

import { isMainThread, parentPort } from "node:worker_threads";

delete Atomics.waitAsync;
const { Doorbell } = await import("../../js_shim/ring.mjs");

const PATIENCE_MS = 10_000;

/** Words of a hub's bell, as `ring.mjs` lists them. */
const BELL = 1;
const AWAY = 5;

/** Peers. */
const HALF = 1;
const WHOLE = 2;

async function lead() {
  const { Broker } = await import("../../js_shim/broker.mjs");
  const { shim } = await import("../../js_shim/hub.mjs");
  const heap = { HEAPU8: new Uint8Array(1_048_576) };
  const broker = new Broker(import.meta.url, async () => /** @type {any} */ ({}));
  const hub = new shim.Hub({ _module: heap }, "shared", true, broker);
  const link = /** @type {import("../../js_shim/ring_link.mjs").RingLink} */ (hub.link);
  link.configure(0, 524_288, 262_144);
  const { words } = link.ownBell;

  let looks = 0;
  let looked = () => {};
  link.listen(() => {
    link.receive(0);
    looks++;
    looked();
  });
  /** @returns {Promise<boolean>} whether the hub looks before the time is over */
  const look = () =>
    new Promise((resolve) => {
      const before = looks;
      const timer = setTimeout(() => resolve(false), PATIENCE_MS);
      looked = () => {
        clearTimeout(timer);
        resolve(looks > before);
      };
    });

  hub.spawn(HALF, "half", new Uint8Array(1));
  while (Atomics.load(words, BELL) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  const again = look();
  hub.terminate(HALF, false);
  const found = { again: await again, heard: false };
  const other = look();
  hub.spawn(WHOLE, "whole", new Uint8Array(1));
  found.heard = await other;
  console.log(JSON.stringify(found));
  process.exit();
}

/** @param {any} message by which a broker starts a worker */
function ring({ peer, channel }) {
  if (peer === WHOLE) {
    new Doorbell(channel.hub, channel.port).ring();
    return;
  }
  const words = new Int32Array(channel.hub);
  // The count last, as that is when it is ended.
  if (Atomics.exchange(words, AWAY, 0) !== 1) throw new Error("the hub does not wait");
  Atomics.add(words, BELL, 1);
}

if (isMainThread) await lead();
else parentPort?.on("message", ring);
