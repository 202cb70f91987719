/**
 * Threads, the same in browsers and in Node.
 *
 * Owns how a thread is created, ended, talked to, and how its end is noticed. Knows nothing of
 * Python. No engine tells when a Web Worker ends by itself, so a worker holds a Web Lock for as
 * long as it lives, and who gets that lock knows that it is gone.
 */

import { inNode } from "./assets.mjs";

/**
 * @param {string} name
 * @returns {any} a module of Node
 */
const builtin = (name) => /** @type {any} */ (process).getBuiltinModule(`node:${name}`);

const workerThreads = () => builtin("worker_threads");

/**
 * What has been sent to a port and not been received yet, without a turn of the event loop.
 * @param {MessagePort} port of Node
 * @returns {any[]}
 */
export function messagesAt(port) {
  const { receiveMessageOnPort } = workerThreads();
  const found = [];
  for (let next = receiveMessageOnPort(port); next; next = receiveMessageOnPort(port)) {
    found.push(next.message);
  }
  return found;
}

// V8 11 (Node 20) aborts the process when it deoptimizes a function into which it had inlined a
// call to WebAssembly that returns a reference, as Pyodide's do ("unreachable code" in
// Deoptimizer::DoComputeBuiltinContinuation).
if (inNode && process.versions.v8.startsWith("11.")) {
  builtin("v8").setFlagsFromString("--no-turbo-inline-js-wasm-calls");
}

/**
 * @typedef {object} Thread
 * @property {(message: unknown, transfer?: any[]) => void} post
 * @property {() => void} terminate ends it at once, whatever it does; nothing more is heard of it
 * @property {() => void} close has it end by itself, as it has nothing to do; the same otherwise
 * @property {Promise<void>} ended resolved when none of its code can run any more, which is later
 *   than either
 */

/** So long after its end was asked for, a thread without a Web Lock is taken to have ended. */
const ENDING_MS = 1_000;

/** So long a thread has to end by itself. */
const CLOSING_MS = 250;

/**
 * What a thread tells its creator, beside what goes through ports.
 * @typedef {object} Listener
 * @property {(reason: string) => void} died called once at most
 */

/**
 * A worker of another origin is refused; one made of a blob may import from there.
 * @param {string} url
 */
function reachable(url) {
  if (!/^https?:/.test(url) || new URL(url).origin === globalThis.location?.origin) return url;
  const source = `import ${JSON.stringify(url)};`;
  return URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
}

/**
 * Starts a thread that runs a module.
 * @param {string} url
 * @param {string} name for people: shown by the engine's tools
 * @param {Listener} listener
 * @returns {Thread}
 */
export function startThread(url, name, listener) {
  let over = false;
  let locked = inNode; // whether its end will be heard of
  /** @type {() => void} */
  let end = () => {};
  const ended = /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      end = resolve;
    })
  );
  const stop = (/** @type {() => void} */ how) => {
    if (over) return;
    over = true;
    if (!locked) setTimeout(end, ENDING_MS);
    how();
  };
  const terminate = () => stop(() => worker.terminate());
  // WebKit aborts the whole page when a worker is terminated that happens to collect garbage
  // (JSC::VMTraps::deferTerminationSlow); between two tasks of its own it ends well.
  const close = () =>
    stop(() => {
      worker.postMessage({ kind: "close" });
      const late = setTimeout(() => worker.terminate(), CLOSING_MS);
      ended.then(() => clearTimeout(late));
    });
  const died = (/** @type {string} */ reason) => {
    if (over) return;
    if (inNode) terminate();
    else close();
    listener.died(reason);
  };
  const heard = (/** @type {any} */ data) => {
    if (data?.kind === "fatal") died(String(data.reason));
    else if (data?.kind === "alive") {
      started = true;
      if (data.lock) {
        locked = true;
        navigator.locks
          .request(data.lock, () => {
            died("its thread ended");
            end();
          })
          .catch(() => {});
      }
    }
  };
  let started = false;
  /** @type {any} */
  let worker;
  if (inNode) {
    worker = new (workerThreads().Worker)(new URL(url), { name });
    worker.on("message", heard);
    worker.on("error", (/** @type {Error} */ error) => died(String(error)));
    worker.on("exit", (/** @type {number} */ code) => {
      died(`its thread ended with code ${code}`);
      end();
    });
  } else {
    worker = new Worker(reachable(url), { type: "module", name });
    worker.onmessage = (/** @type {MessageEvent} */ event) => heard(event.data);
    // Once it runs, it judges its errors itself: not each uncaught one ends an interpreter.
    worker.onerror = (/** @type {ErrorEvent} */ event) => {
      if (!started) died(event.message || `its script did not load: ${url}`);
    };
  }
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    terminate,
    close: inNode ? terminate : close,
    ended,
  };
}

/**
 * The thread's own side: waits for its first message, and says how to report the end.
 * @returns {Promise<{message: any, fatal: (reason: string) => void}>}
 */
export async function entered() {
  const port = inNode ? workerThreads().parentPort : globalThis;
  const message = await new Promise((resolve) => {
    // The listener stays: nothing else keeps a Node thread alive that waits in waitAsync.
    if (inNode) port.on("message", resolve);
    else {
      port.onmessage = (/** @type {MessageEvent} */ { data }) => {
        if (data.kind === "close") port.close();
        else resolve(data);
      };
    }
  });
  const lock = await holdLock();
  port.postMessage({ kind: "alive", lock });
  const fatal = (/** @type {string} */ reason) => port.postMessage({ kind: "fatal", reason });
  return { message, fatal };
}

/** @returns {Promise<string | undefined>} the name of a lock held until this thread ends */
async function holdLock() {
  // Absent on insecure pages and in Node, and refused in an opaque origin.
  if (inNode || !globalThis.navigator?.locks) return undefined;
  const name = `pyworkers-${crypto.randomUUID()}`;
  return new Promise((resolve) => {
    navigator.locks
      .request(name, () => {
        resolve(name);
        return new Promise(() => {});
      })
      .catch(() => resolve(undefined));
  });
}
