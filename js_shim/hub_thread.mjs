/**
 * A hub on a thread of its own, and what keeps it: the broker of its workers.
 *
 * Owns both and their ends. It lives on a thread that never blocks, the page or Node's main thread.
 * Knows nothing of what is said to the hub.
 */

import { Broker, serveBroker } from "./broker.mjs";
import { PROTOCOL_VERSION } from "./protocol.mjs";
import { startThread } from "./thread.mjs";

/**
 * What a connection needs of its way to a hub.
 * @typedef {object} Line
 * @property {MessagePort} port to the hub
 * @property {boolean} isCommon whether pages of other tabs have the same hub, which then shares no
 *   memory with any of them
 * @property {(assets: import("./assets.mjs").Assets) => void} loaded what the hub has fetched
 * @property {(reason: string, name?: string) => void} onended called when there is no hub any more;
 *   `name` is that of the error for who waits for its start
 * @property {() => void} onrenewed called when there is another port, to another hub
 * @property {() => void} close
 */

/** @implements {Line} */
export class HubThread {
  isCommon = false;
  /** @type {(reason: string, name?: string) => void} */
  onended = () => {};
  onrenewed = () => {};
  /** @type {(assets: import("./assets.mjs").Assets) => void} */
  loaded = () => {};

  /**
   * @param {import("./assets.mjs").Site} site
   * @param {string} workerURL
   */
  constructor(site, workerURL) {
    const page = new MessageChannel();
    const brokerage = new MessageChannel();
    this.port = page.port1;
    /** @type {Promise<import("./assets.mjs").Assets>} */
    const assets = new Promise((resolve) => {
      this.loaded = resolve;
    });
    this.broker = new Broker(workerURL, () => assets);
    serveBroker(brokerage.port1, this.broker);
    this.thread = startThread(workerURL, "pyworkers hub", {
      died: (reason) => this.onended(`the hub ended: ${reason}`),
    });
    const ports = { page: page.port2, broker: brokerage.port2 };
    const version = PROTOCOL_VERSION;
    this.thread.post({ kind: "boot", version, role: "hub", site, ...ports }, Object.values(ports));
  }

  /** Ends the hub and its workers. */
  close() {
    this.thread.close();
    this.broker.close();
    this.port.close();
  }
}
