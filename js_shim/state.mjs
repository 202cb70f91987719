/**
 * The same keys and values on several sides, by messages.
 *
 * Owns which of two values of a key is the later one: the one with the higher count, and where
 * those are equal, with the higher number of its side. `pyworkers/sync/_state.py` is the same in
 * Python.
 */

import { Channel } from "./channels.mjs";

/** @typedef {[key: string, value: any, count: number, side: number]} Entry */

/** @param {Entry} a @param {Entry} b */
const isLater = (a, b) => a[2] > b[2] || (a[2] === b[2] && a[3] > b[3]);

/** @param {Entry} a */
const isVersionOf = (a) => (/** @type {Entry} */ b) => a[0] === b[0] && !isLater(a, b);

/** Values by key, which both sides of a channel can set, and both get. The last to set one wins. */
export class MessageChannelSync {
  #side = Math.floor(Math.random() * 2 ** 52);
  #count = 0;
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {Set<{key: string | null, listener: (key: string, value: any) => void}>} */
  #listeners = new Set();
  /** @type {(entries: Entry[]) => void} */
  #tell;
  /** @type {() => void} */
  #close;

  /** @param {Channel | MessagePort} channel this side's end of it */
  constructor(channel) {
    [this.#tell, this.#close] =
      channel instanceof Channel ? this.#overChannel(channel) : this.#overPort(channel);
  }

  /**
   * @param {string} key
   * @returns {any} its value, as far as this side has heard; undefined if it has none
   */
  get(key) {
    return this.#entries.get(key)?.[1];
  }

  /** @returns {string[]} */
  keys() {
    return [...this.#entries.keys()];
  }

  /**
   * Sets a key, here at once and on the other side soon.
   * @param {string} key
   * @param {any} value plain data
   */
  set(key, value) {
    /** @type {Entry} */
    const entry = [key, value, ++this.#count, this.#side];
    this.#tell([entry]);
    this.#entries.set(key, entry);
    this.#changed(entry);
  }

  /**
   * Has a function called with key and value after each change, whoever made it.
   * @param {string | null} key null means all
   * @param {(key: string, value: any) => void} listener
   * @returns {() => void} what ends it
   */
  subscribe(key, listener) {
    const own = { key, listener };
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** Hears and tells no more; what is known here stays. */
  close() {
    this.#close();
  }

  /** @param {Entry} entry */
  #changed([key, value]) {
    for (const { key: wanted, listener } of [...this.#listeners]) {
      if (wanted === null || wanted === key) listener(key, value);
    }
  }

  /** @param {Entry[]} entries of the other side */
  #merge(entries) {
    /** @type {Entry[]} */
    const later = [];
    for (const entry of entries) {
      const own = this.#entries.get(entry[0]);
      this.#count = Math.max(this.#count, entry[2]);
      if (own && !isLater(entry, own)) continue;
      this.#entries.set(entry[0], entry);
      later.push(entry);
    }
    for (const entry of later) this.#changed(entry);
  }

  #all() {
    return [...this.#entries.values()];
  }

  /**
   * @param {Channel} channel
   * @returns {[(entries: Entry[]) => void, () => void]}
   */
  #overChannel(channel) {
    let isHeard = false;
    const heard = (/** @type {Entry[]} */ entries) => {
      isHeard = true;
      this.#merge(entries);
    };
    const ends = [
      channel.on("entries", ({ payload }) => heard(payload)),
      channel.on("hello", ({ payload }) => {
        heard(payload);
        return this.#all();
      }),
    ];
    // Whoever is there later greets.
    channel.request("hello", this.#all(), { timeout: null }).then(
      (known) => {
        heard(known);
        // What was set here since the greeting.
        const unknown = this.#all().filter((own) => !known.some(isVersionOf(own)));
        if (unknown.length > 0) tell(unknown);
      },
      () => {},
    );
    const tell = (/** @type {Entry[]} */ entries) => {
      if (isHeard) channel.post("entries", entries);
    };
    const close = () => {
      isHeard = false;
      for (const end of ends) end();
    };
    return [tell, close];
  }

  /**
   * @param {MessagePort} port
   * @returns {[(entries: Entry[]) => void, () => void]}
   */
  #overPort(port) {
    const tell = (/** @type {Entry[]} */ entries) => port.postMessage({ kind: "entries", entries });
    const heard = (/** @type {MessageEvent} */ { data }) => {
      if (!["hello", "entries"].includes(data?.kind) || !Array.isArray(data.entries)) return;
      this.#merge(data.entries);
      if (data.kind === "hello") tell(this.#all());
    };
    port.addEventListener("message", heard);
    port.start();
    port.postMessage({ kind: "hello", entries: this.#all() });
    return [tell, () => port.removeEventListener("message", heard)];
  }
}
