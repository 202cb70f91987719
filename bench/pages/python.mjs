/**
 * A peer with Python: plain Pyodide in a worker, which calls and answers through comlink.
 *
 * Python functions are looked up once and held; a call passes them plain values.
 */

import { loadPyodide } from "../pyodide/pyodide.mjs";
import * as Comlink from "./comlink.mjs";
import { answerer, asker } from "./pingpong.mjs";

/** @param {any} buffer a Python object with the buffer protocol */
function copied(buffer) {
  const view = buffer.getBuffer("u8");
  const copy = view.data.slice();
  view.release();
  return copy;
}

class PythonPeer {
  /** @type {(name: string) => any} what Python defined */
  #python;
  /** @type {any} */
  #neg;
  /** @type {any} */
  #spin;
  /** @type {any} */
  #remote;
  /** @type {MessagePort} */
  #bare;

  async open() {
    const pyodide = await loadPyodide();
    for (const name of ["timing", "workload", "peer"]) {
      pyodide.runPython(await (await fetch(`./${name}.py`)).text(), { filename: `${name}.py` });
    }
    this.#python = (name) => pyodide.globals.get(name);
    this.#neg = pyodide.pyimport("operator").neg;
    this.#spin = this.#python("spin");
  }

  /** @param {number} number */
  neg(number) {
    return this.#neg(number);
  }

  /** @param {number} seconds */
  spin(seconds) {
    return this.#spin(seconds);
  }

  /**
   * @param {MessagePort} calls leads to what `answer` exposes
   * @param {MessagePort} bare
   */
  join(calls, bare) {
    this.#remote = Comlink.wrap(calls);
    this.#bare = bare;
    bare.start();
  }

  /**
   * @param {MessagePort} calls
   * @param {MessagePort} bare
   */
  answer(calls, bare) {
    const [noop, length] = ["noop", "length"].map(this.#python);
    Comlink.expose({ noop: () => noop(), length: (array) => length(array) }, calls);
    this.#bare = bare;
  }

  /**
   * Times calls that Python awaits.
   * @param {number} count
   */
  async comlink(count) {
    const times = await this.#python("awaited")(() => this.#remote.noop(), count);
    return times.toJs();
  }

  /**
   * Times calls for which Python blocks, by switching stacks.
   * @param {number} count
   */
  async switched(count) {
    const call = this.#python("by_stack_switching")(() => this.#remote.noop());
    const times = await this.#python("blocking").callPromising(call, count);
    return times.toJs();
  }

  /**
   * Times calls with a buffer, which is copied out of the one heap, transferred, copied into the
   * other.
   * @param {number} count
   * @param {any} bytes
   */
  async transfer(count, bytes) {
    const data = this.#python("pattern")(bytes);
    const call = () => {
      const array = copied(data);
      return this.#remote.length(Comlink.transfer(array, [array.buffer]));
    };
    const times = await this.#python("awaited")(call, count);
    return times.toJs();
  }

  /**
   * @param {SharedArrayBuffer} memory
   * @param {number} count
   */
  ping(memory, count) {
    const ask = asker(memory);
    ask();
    return this.#python("blocking")(ask, count).toJs();
  }

  /**
   * @param {SharedArrayBuffer} memory
   * @param {number} count
   */
  pong(memory, count) {
    const { swap, finish } = answerer(memory);
    this.#python("swap_often")(swap, count + 1);
    finish();
  }

  /**
   * Posts messages from Python; each is a copy of its bytes.
   * @param {number} count
   * @param {number} bytes
   * @returns {Promise<number>} seconds until the other side says that it has read them all
   */
  post(count, bytes) {
    return new Promise((resolve) => {
      const started = performance.now();
      this.#bare.onmessage = () => resolve((performance.now() - started) / 1000);
      const post = (/** @type {any} */ data) => {
        const array = copied(data);
        this.#bare.postMessage(array, [array.buffer]);
      };
      this.#python("post_all")(post, count, this.#python("pattern")(bytes));
    });
  }

  /**
   * Reads so many messages in Python, and says so.
   * @param {number} count
   */
  read(count) {
    const counter = this.#python("Counter")();
    this.#bare.onmessage = ({ data }) => {
      if (counter.receive(data) === count) this.#bare.postMessage(count);
    };
  }
}

Comlink.expose(new PythonPeer());
