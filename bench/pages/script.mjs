/**
 * A peer without Python: calls through comlink, bare messages, shared memory, copies.
 */

import * as Comlink from "./comlink.mjs";
import { answerer, asker } from "./pingpong.mjs";
import { awaited, seconds } from "./timing.mjs";

class ScriptPeer {
  /** @type {any} */
  #remote;
  /** @type {MessagePort} */
  #bare;

  async open() {}

  /**
   * @param {MessagePort} calls leads to what `answer` exposes
   * @param {MessagePort} bare
   */
  async join(calls, bare) {
    this.#remote = Comlink.wrap(calls);
    this.#bare = bare;
    bare.start();
  }

  /**
   * @param {MessagePort} calls
   * @param {MessagePort} bare
   */
  async answer(calls, bare) {
    Comlink.expose({ noop: () => {} }, calls);
    this.#bare = bare;
    this.echo();
  }

  /** Answers each message: a number by itself, a buffer by its length. */
  echo() {
    this.#bare.onmessage = ({ data }) => this.#bare.postMessage(data.byteLength ?? data);
  }

  /**
   * @param {number} count
   * @param {string} name
   * @param {unknown[]} args
   */
  comlink(count, name, args) {
    return awaited(count, () => this.#remote[name](...args));
  }

  /**
   * @param {unknown} message
   * @returns {Promise<unknown>} the answer to it
   */
  #roundTrip(message) {
    return new Promise((resolve) => {
      this.#bare.onmessage = ({ data }) => resolve(data);
      this.#bare.postMessage(message);
    });
  }

  /** @param {number} count */
  messages(count) {
    return awaited(count, (i) => this.#roundTrip(i));
  }

  /**
   * Posts a buffer by structured clone; its length comes back.
   * @param {number} count
   * @param {number} bytes
   */
  clone(count, bytes) {
    const buffer = new Uint8Array(bytes).fill(7).buffer;
    return awaited(count, () => this.#roundTrip(buffer));
  }

  /**
   * Posts messages of so many bytes each.
   * @param {number} count
   * @param {number} bytes
   * @returns {Promise<number>} seconds until the other side says that it has read them all
   */
  post(count, bytes) {
    const data = new Uint8Array(bytes).fill(7);
    return new Promise((resolve) => {
      const started = seconds();
      this.#bare.onmessage = () => resolve(seconds() - started);
      for (let i = 0; i < count; i++) {
        const array = data.slice();
        this.#bare.postMessage(array, [array.buffer]);
      }
    });
  }

  /**
   * Reads so many messages, and says so.
   * @param {number} count
   */
  read(count) {
    let left = count;
    this.#bare.onmessage = () => {
      if (--left === 0) this.#bare.postMessage(count);
    };
  }

  /**
   * Copies a buffer to a second and on to a third.
   * @param {number} count
   * @param {number} bytes
   */
  async copies(count, bytes) {
    const [first, second, third] = [1, 2, 3].map((n) => new Uint8Array(bytes).fill(n));
    return awaited(count, async () => {
      second.set(first);
      third.set(second);
    });
  }

  /**
   * Asks, once more than is timed: the first answer waits until the other side is there.
   * @param {SharedArrayBuffer} memory
   * @param {number} count
   */
  async ping(memory, count) {
    const ask = asker(memory);
    ask();
    const times = [seconds()];
    for (let i = 0; i < count; i++) {
      ask();
      times.push(seconds());
    }
    return times;
  }

  /**
   * @param {SharedArrayBuffer} memory
   * @param {number} count
   */
  async pong(memory, count) {
    const { swap, finish } = answerer(memory);
    for (let i = 0; i < count + 1; i++) swap();
    finish();
  }
}

Comlink.expose(new ScriptPeer());
