/**
 * How a page stops what the interpreter of a notebook does.
 *
 * Owns the way of such a request: a BroadcastChannel, heard by the interpreter's own thread when it
 * turns its event loop and, where memory is shared, by a thread that does nothing else when it does
 * not. Knows nothing of notebooks, and not what is done about it.
 */

/** The signal SIGINT. */
const INTERRUPT = 2;

/** So long the interpreter's own thread has to hear of a request before a signal is sent. */
const OWN_TURN_MS = 100;

/**
 * Says whether a request is still to be acted on, and that the caller does so.
 * @param {BigInt64Array} last number of the last request that somebody took; numbers grow
 * @param {number} request
 */
function take(last, request) {
  const before = Atomics.load(last, 0);
  const number = BigInt(request);
  return number > before && Atomics.compareExchange(last, 0, before, number) === before;
}

const WATCHER = `${take}
onmessage = ({ data: { name, signals, last } }) => {
  new BroadcastChannel(name).onmessage = ({ data: request }) => {
    setTimeout(() => {
      if (take(last, request)) Atomics.store(signals, 0, ${INTERRUPT});
    }, ${OWN_TURN_MS});
  };
  postMessage("ready");
};`;

/**
 * Listens until the thread ends.
 * @param {any} pyodide
 * @param {string} name of the channel; each message is a number, larger than those before
 * @param {() => void} stop called when a request comes while the event loop turns
 * @returns {{ready: Promise<unknown>, signal: () => void}} `ready` once requests are heard also while
 *   this thread is blocked, where they can be; `signal` has Python's handler called soon
 */
export function listenForStop(pyodide, name, stop) {
  const shared = typeof SharedArrayBuffer === "function";
  const memory = shared ? new SharedArrayBuffer(16) : new ArrayBuffer(16);
  const signals = new Int32Array(memory, 0, 1);
  const last = new BigInt64Array(memory, 8, 1);
  pyodide.setInterruptBuffer(signals);
  new BroadcastChannel(name).onmessage = ({ data: request }) => {
    if (take(last, request)) stop();
  };
  const signal = () => Atomics.store(signals, 0, INTERRUPT);
  if (!shared) return { ready: Promise.resolve(), signal };
  const url = URL.createObjectURL(new Blob([WATCHER], { type: "text/javascript" }));
  const watcher = new Worker(url, { name: "pyworkers stop" });
  const ready = new Promise((resolve) => {
    watcher.onmessage = resolve;
    watcher.onerror = resolve;
  });
  watcher.postMessage({ name, signals, last });
  return { ready, signal };
}
