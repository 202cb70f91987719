/**
 * What runs on a thread of its own: a worker, a hub, or a broker.
 *
 * Owns the thread's start and its end: whatever ends the interpreter is reported, and the thread
 * with it. Knows nothing of tasks; Python does what the frames say.
 */

import { Arena } from "./arena.mjs";
import { fetchAssets, inNode } from "./assets.mjs";
import { boot, Stopwatch } from "./boot.mjs";
import { Broker, RemoteBroker, serveBroker } from "./broker.mjs";
import { Cells } from "./cells.mjs";
import { converse, FROM_KEEPER, FROM_TAB } from "./conversation.mjs";
import { makeFork } from "./fork.mjs";
import { shim } from "./hub.mjs";
import { Keeper, runMaker } from "./keeper.mjs";
import { PortLink } from "./port_link.mjs";
import { PROTOCOL_VERSION } from "./protocol.mjs";
import { bury, Doorbell } from "./ring.mjs";
import { RingLink } from "./ring_link.mjs";
import { primitive } from "./sync.mjs";
import { entered } from "./thread.mjs";

/** @param {any} pyodide */
function isDead(pyodide) {
  // After a fatal error each part of Pyodide's API throws when it is looked at.
  try {
    return pyodide.globals === undefined;
  } catch {
    return true;
  }
}

/**
 * Calls `end` when an error that nobody caught has ended the interpreter.
 * @param {any} pyodide
 * @param {(reason: string) => void} end
 */
function watch(pyodide, end) {
  const judge = (/** @type {unknown} */ error, /** @type {Event | undefined} */ event) => {
    if (!isDead(pyodide)) return;
    event?.preventDefault();
    end(describe(error));
  };
  if (inNode) {
    // Without a listener, Node ends the thread: a browser would not.
    for (const event of ["uncaughtException", "unhandledRejection"]) {
      process.on(event, (error) => {
        console.error(error);
        judge(error, undefined);
      });
    }
  } else {
    globalThis.addEventListener("error", (event) => judge(event.error ?? event.message, event));
    globalThis.addEventListener("unhandledrejection", (event) => judge(event.reason, event));
  }
}

/** @param {unknown} error */
function describe(error) {
  const { name, message } = /** @type {any} */ (error) ?? {};
  return name ? `${name}: ${String(message).trim().split("\n").at(-1)}` : String(error);
}

/**
 * @param {any} init
 * @param {(reason: string) => void} fatal
 */
async function runWorker({ peer, assets, channel, archive, fork }, fatal) {
  /** @type {RingLink | PortLink | undefined} */
  let opened;
  const end = (/** @type {string} */ reason) => {
    if (channel.memory) bury(channel.memory, channel.hub, reason);
    else if (opened instanceof PortLink) opened.end(peer, reason);
    fatal(reason);
  };
  try {
    /** @type {any} */
    let pyodide;
    const heap = () => pyodide._module.HEAPU8;
    const link = openLink(heap, peer, channel);
    opened = link;
    const stopwatch = new Stopwatch();
    /** @type {string | undefined} */
    let refused;
    const unforked = (/** @type {string} */ reason) => {
      refused = reason;
    };
    pyodide = await boot(assets, archive, streamsTo(link, peer), stopwatch, { fork, unforked });
    watch(pyodide, end);
    const { start } = pyodide.pyimport("pyworkers._worker");
    const interruptBy = (/** @type {number} */ signal) => {
      if (link instanceof RingLink) pyodide.setInterruptBuffer(link.signals(peer, signal));
    };
    stopwatch.lap("import");
    const measured = { phases: stopwatch.phases, files: assets.files, unforked: refused };
    const version = PROTOCOL_VERSION;
    const step = start({ link, peer, version, Cells, primitive, interruptBy, measured });
    // Where nothing interrupts a function, it can let messages in by switching stacks.
    const canSwitch = link instanceof PortLink && pyodide._module.jspiSupported === true;
    await link.listen(canSwitch ? () => step.callPromising() : step);
  } catch (error) {
    end(describe(error));
  }
}

/**
 * Sets up an interpreter, and leaves its memory.
 * @param {any} init
 */
async function runFork({ peer, assets, channel, archive, setup, port }) {
  // Python knows nothing of this link, so no memory of it is needed.
  const link = openLink(() => new Uint8Array(0), peer, channel);
  port.postMessage(await makeFork(assets, archive, streamsTo(link, peer), peer, setup));
}

/**
 * @param {PortLink | RingLink} link
 * @param {number} peer
 */
const streamsTo = (link, peer) => ({
  stdout: (/** @type {Uint8Array} */ bytes) => link.output(peer, 1, bytes),
  stderr: (/** @type {Uint8Array} */ bytes) => link.output(peer, 2, bytes),
});

/**
 * @param {() => Uint8Array} heap
 * @param {number} peer
 * @param {any} channel
 */
function openLink(heap, peer, channel) {
  if (!channel.memory) {
    const link = new PortLink(heap);
    link.open(peer, channel.port);
    return link;
  }
  const bell = new Doorbell(channel.memory);
  const arena = new Arena(channel.arena, peer, true);
  const link = new RingLink(heap, channel.hub, bell, "worker", arena);
  link.open(peer, channel.memory, channel.port);
  return link;
}

/**
 * @param {any} init
 * @param {(reason: string) => void} fatal
 */
async function runHub({ site, page, broker }, fatal) {
  try {
    const stopwatch = new Stopwatch();
    // Here and not on the page, whose frames would wait for the compiler.
    const assets = await fetchAssets(site);
    page.postMessage({ kind: "assets", assets });
    const say = (/** @type {string} */ stream) => {
      const decoder = new TextDecoder();
      return (/** @type {Uint8Array} */ bytes) => {
        const text = decoder.decode(bytes.slice(), { stream: true });
        page.postMessage({ kind: "output", stream, text });
      };
    };
    const streams = { stdout: say("stdout"), stderr: say("stderr") };
    stopwatch.lap("assets");
    const archive = /** @type {import("./assets.mjs").Bulk} */ (assets.archive);
    const pyodide = await boot(assets, archive, streams, stopwatch);
    watch(pyodide, fatal);
    const measured = { phases: stopwatch.phases, files: assets.files };
    const offered = { ...shim, broker: new RemoteBroker(broker), measured };
    pyodide.registerJsModule("_pyworkers_shim", offered);
    const { converse: open } = pyodide.pyimport("pyworkers._page");
    const isFatal = (/** @type {unknown} */ error) => {
      if (!isDead(pyodide)) return false;
      fatal(describe(error));
      return true;
    };
    converse(page, FROM_KEEPER, open, isFatal, ({ port, lock }, keeper) => {
      const tab = converse(port, FROM_TAB, keeper.admit, isFatal, () => {});
      navigator.locks.request(lock, () => {
        if (!isDead(pyodide)) tab.end();
      });
    });
    stopwatch.lap("import");
  } catch (error) {
    fatal(describe(error));
  }
}

const { message, fatal } = await entered();
if (message.version !== PROTOCOL_VERSION) {
  fatal(`its shim speaks protocol ${PROTOCOL_VERSION}, its creator ${message.version}`);
} else if (message.role === "worker") await runWorker(message, fatal);
else if (message.role === "hub") await runHub(message, fatal);
else if (message.role === "fork") {
  await runFork(message).catch((error) => fatal(error.message?.split("\n")[0] ?? describe(error)));
} else if (message.role === "maker") {
  await runMaker(message).catch((error) => fatal(describe(error)));
} else {
  const { site, workerURL, port } = message;
  serveBroker(port, new Broker(workerURL, () => fetchAssets(site), new Keeper(workerURL)));
}
