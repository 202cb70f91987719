/**
 * What runs on a thread of its own: a worker, a hub, or a broker.
 *
 * Owns the thread's start and its end: whatever ends the interpreter is reported, and the thread
 * with it. Knows nothing of tasks; Python does what the frames say.
 */

import { boot, fetchAssets, inNode } from "./boot.mjs";
import { Broker, RemoteBroker, serveBroker } from "./broker.mjs";
import { detect, Hub } from "./hub.mjs";
import { PortLink, RingLink } from "./link.mjs";
import { checked } from "./protocol.mjs";
import { bury, Doorbell } from "./ring.mjs";
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
async function runWorker({ peer, assets, channel, archive }, fatal) {
  const end = (/** @type {string} */ reason) => {
    if (channel.memory) bury(channel.memory, channel.hub, reason);
    fatal(reason);
  };
  try {
    /** @type {any} */
    let pyodide;
    const heap = () => pyodide._module.HEAPU8;
    const link = openLink(heap, peer, channel);
    pyodide = await boot(assets, {
      stdout: (bytes) => link.output(peer, 1, bytes),
      stderr: (bytes) => link.output(peer, 2, bytes),
    });
    watch(pyodide, end);
    pyodide.unpackArchive(archive, "zip", { extractDir: pyodide._api.sitePackages });
    const { start } = pyodide.pyimport("pyworkers._worker");
    await link.listen(start(link, peer, link instanceof RingLink));
  } catch (error) {
    end(describe(error));
  }
}

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
  const link = new RingLink(heap, channel.hub, bell, "worker");
  link.open(peer, channel.memory);
  return link;
}

/**
 * @param {any} init
 * @param {(reason: string) => void} fatal
 */
async function runHub({ site, page, broker }, fatal) {
  try {
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
    const pyodide = await boot(assets, { stdout: say("stdout"), stderr: say("stderr") });
    watch(pyodide, fatal);
    const shim = { detect, Hub, broker: new RemoteBroker(broker) };
    pyodide.registerJsModule("_pyworkers_shim", shim);
    await pyodide.loadPackage(["pyworkers", "cloudpickle"], { messageCallback() {} });
    const serve = pyodide.pyimport("pyworkers._page").serve(page);
    page.onmessage = (/** @type {MessageEvent} */ { data }) => {
      try {
        serve(checked(data, ["configure", "run", "exec", "cancel"]));
      } catch (error) {
        if (isDead(pyodide)) return fatal(describe(error));
        const { name, message } = /** @type {Error} */ (error);
        const id = Number.isInteger(data?.id) && data.id >= 0 ? data.id : 0;
        page.postMessage({ kind: "error", id, name, message, pythonTraceback: "" });
      }
    };
  } catch (error) {
    fatal(describe(error));
  }
}

const { message, fatal } = await entered();
if (message.role === "worker") await runWorker(message, fatal);
else if (message.role === "hub") await runHub(message, fatal);
else {
  const { site, workerURL, port } = message;
  serveBroker(port, new Broker(workerURL, () => fetchAssets(site)));
}
