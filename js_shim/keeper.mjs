/**
 * The snapshot of a page that has none from its site: made once, kept for later workers and visits.
 *
 * Owns the place where it is kept, the Cache API, and the thread that makes it. Knows nothing of
 * what is in a snapshot.
 */

import { asBulk, readSnapshot, warn } from "./assets.mjs";
import { makeSnapshot } from "./boot.mjs";
import { PROTOCOL_VERSION } from "./protocol.mjs";
import { checksum } from "./snapshot.mjs";
import { startThread } from "./thread.mjs";

const CACHE = "pyworkers";

/** Until then, the workers that the page has asked for have the processors for themselves. */
const DELAY_MS = 5_000;

/**
 * The name under which the snapshot of some assets and an archive is kept.
 * @param {import("./assets.mjs").Assets} assets
 * @param {Uint8Array} archive
 */
async function keyOf({ scripts, lock }, archive) {
  // The loader names the build of the core to which it belongs.
  const [loader] = scripts;
  const text = new TextEncoder().encode(lock);
  const parts = [new Uint8Array(await /** @type {Blob} */ (loader).arrayBuffer()), text, archive];
  const words = parts.flatMap(checksum).map((word) => word.toString(16).padStart(8, "0"));
  return `${location.origin}/pyworkers-snapshot-${words.join("")}`;
}

/** Finds the snapshot, or has it made. */
export class Keeper {
  /** @type {Promise<void> | undefined} */
  #looked;

  /** @param {string} workerURL of worker.mjs */
  constructor(workerURL) {
    this.workerURL = workerURL;
  }

  /**
   * Sees to it that the assets have a snapshot, now or later.
   * @param {import("./assets.mjs").Assets} assets gets it
   * @param {Uint8Array} archive
   * @returns {Promise<void>} once it is known whether there is one already; never rejects
   */
  provide(assets, archive) {
    this.#looked ??= this.#look(assets, archive).catch((error) => {
      console.warn(`pyworkers: no snapshot is kept: ${error.message}`);
    });
    return this.#looked;
  }

  /**
   * @param {import("./assets.mjs").Assets} assets
   * @param {Uint8Array} archive
   */
  async #look(assets, archive) {
    // Absent on insecure pages.
    if (!globalThis.caches || !navigator.locks) return;
    const key = await keyOf(assets, archive);
    const cache = await caches.open(CACHE);
    const kept = await cache.match(key);
    assets.snapshot = kept && (await readSnapshot(kept, "that is kept"));
    if (assets.snapshot) return;
    await cache.delete(key);
    setTimeout(() => this.#make(key, assets, archive), DELAY_MS);
  }

  /**
   * @param {string} key
   * @param {import("./assets.mjs").Assets} assets
   * @param {Uint8Array} archive
   */
  #make(key, assets, archive) {
    const { port1, port2 } = new MessageChannel();
    const thread = startThread(this.workerURL, "pyworkers snapshot", {
      died: (reason) => console.warn(`pyworkers: no snapshot was made: ${reason}`),
    });
    port1.onmessage = ({ data }) => {
      assets.snapshot = data.snapshot;
      thread.terminate();
      port1.close();
    };
    const version = PROTOCOL_VERSION;
    thread.post({ kind: "boot", version, role: "maker", key, assets, archive, port: port2 }, [
      port2,
    ]);
  }
}

/**
 * Makes a snapshot and keeps it, unless another page of the origin is just doing that.
 * @param {any} init
 * @returns {Promise<void>}
 */
export async function runMaker({ key, assets, archive, port }) {
  await navigator.locks.request(key, { ifAvailable: true }, async (lock) => {
    let snapshot;
    if (lock) {
      const made = await makeSnapshot(assets, archive);
      await keep(key, made).catch((error) => warn("the snapshot is not kept", error));
      snapshot = asBulk(made);
    }
    port.postMessage({ snapshot });
  });
}

/**
 * @param {string} key
 * @param {Uint8Array<ArrayBuffer>} snapshot takes the place of any other
 */
async function keep(key, snapshot) {
  const cache = await caches.open(CACHE);
  for (const old of await cache.keys()) await cache.delete(old);
  const packed = new Blob([snapshot]).stream().pipeThrough(new CompressionStream("gzip"));
  await cache.put(key, new Response(packed));
}
