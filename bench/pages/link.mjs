/**
 * One end of a channel, without a pool: the shim's link with Python's half of it.
 */

import { Arena, arenaMemory, HUB } from "../arena.mjs";
import { loadPyodide } from "../pyodide/pyodide.mjs";
import { bellMemory, channelMemory, Doorbell } from "../ring.mjs";
import { RingLink } from "../ring_link.mjs";
import * as Comlink from "./comlink.mjs";

/** What both ends call the channel. */
const PEER = 1;

class LinkPeer {
  /** @type {any} */
  #pyodide;
  /** @type {any} */
  #link;

  async open() {
    this.#pyodide = await loadPyodide();
    await this.#pyodide.loadPackage(["pyworkers", "cloudpickle"], { messageCallback() {} });
    this.#pyodide.runPython(await (await fetch("./frames.py")).text(), { filename: "frames.py" });
  }

  /** @param {string} name */
  #python(name) {
    return this.#pyodide.globals.get(name);
  }

  /** Opens the hub's end, and returns what the worker's end needs. */
  hub() {
    const memories = { channel: channelMemory(), hub: bellMemory(), arena: arenaMemory() };
    this.#open(memories, new Doorbell(memories.hub), "hub");
    return memories;
  }

  /** @param {{channel: SharedArrayBuffer, hub: SharedArrayBuffer, arena: WebAssembly.Memory}} memories */
  worker(memories) {
    this.#open(memories, new Doorbell(memories.channel), "worker");
  }

  /**
   * @param {{channel: SharedArrayBuffer, hub: SharedArrayBuffer, arena: WebAssembly.Memory}} memories
   * @param {Doorbell} bell
   * @param {"hub" | "worker"} end
   */
  #open({ channel, hub, arena: shared }, bell, end) {
    const arena = new Arena(shared, end === "hub" ? HUB : PEER, true);
    const link = new RingLink(() => this.#pyodide._module.HEAPU8, hub, bell, end, arena);
    link.open(PEER, channel);
    this.#link = this.#python("open_link")(link);
  }

  /**
   * @param {number} count of frames
   * @param {number} bytes of each payload
   * @returns {number} seconds
   */
  send(count, bytes) {
    return this.#python("send_all")(this.#link, count, this.#python("bytes")(bytes));
  }

  /** @param {number} count */
  receive(count) {
    this.#python("receive_all")(this.#link, count);
  }
}

Comlink.expose(new LinkPeer());
