/**
 * The entry for web pages: `import {connect} from ".../page.mjs"`.
 *
 * Owns what is particular to a page: where the site lies, relative URLs, and the Python blocks of
 * a document.
 */

import { load, warn } from "./assets.mjs";
import { Connection, open, siteFrom } from "./connection.mjs";
import { HubThread } from "./hub_thread.mjs";
import { PROTOCOL_VERSION } from "./protocol.mjs";
import { isolate, keepOffline } from "./service.mjs";
import { Tab } from "./tabs.mjs";

export { PyworkersError } from "./asked.mjs";
export { Channel } from "./channels.mjs";
export { Connection } from "./connection.mjs";
export { MessageChannelSync } from "./state.mjs";
export {
  SharedCancellation,
  SharedCounter,
  SharedFlag,
  SharedProgress,
} from "./twins.mjs";

/**
 * What only pages can ask for; undefined leaves it as it is.
 * @typedef {object} PageOptions
 * @property {boolean} [offline] have a service worker keep the page and the site, so that it starts
 *   without a network from the next visit on; false: no more
 * @property {boolean | "require-corp" | "credentialless"} [isolate] have a service worker isolate the
 *   page, which is reloaded once for that, where the host does not; false: no more
 * @property {boolean} [tabs] share one hub, and its pool, with the pages of this origin that ask for it
 *   with the same options, where the browser has SharedWorker
 */

/**
 * Starts a hub in a worker. The page's own thread runs no Python.
 * @param {import("./connection.mjs").ConnectOptions & PageOptions} [options]
 * @returns {Promise<import("./connection.mjs").Connection>}
 */
export async function connect({ offline, isolate: policy, tabs = false, ...given } = {}) {
  const serviceURL = new URL("./service_worker.js", import.meta.url).href;
  if (policy !== undefined) await isolate(serviceURL, policy);
  const base = new URL("./pyworkers.json", import.meta.url).href;
  const response = await load(base);
  const workerURL = new URL("./worker.mjs", import.meta.url).href;
  const modules = (given.modules ?? []).map((url) => new URL(url, document.baseURI).href);
  const options = { ...given, modules };
  const site = siteFrom(await response.json(), base);
  const start = () => new HubThread(site, workerURL);
  const connection = await open(
    (tabs && (await entered(site, options, start))) || start(),
    options,
  );
  // Not before: the start is not to wait for it, and what it fetches is in the browser's cache now.
  if (offline !== undefined) keepOffline(serviceURL, offline);
  return connection;
}

/**
 * Has this page share a hub.
 * @param {import("./assets.mjs").Site} site
 * @param {import("./connection.mjs").ConnectOptions} options
 * @param {() => HubThread} start
 * @returns {Promise<Tab | undefined>} undefined where that cannot be
 */
async function entered(site, options, start) {
  const { size, packages, modules, mode } = options;
  // What would not work for all of them, or not in the same way.
  const isolated = typeof SharedArrayBuffer === "function";
  const name = JSON.stringify([PROTOCOL_VERSION, site, isolated, size, packages, modules, mode]);
  const keep = () => {
    const connection = new Connection(start(), {});
    return { connection, ready: connection.configure(options) };
  };
  const tab = new Tab(new URL("./tabs_worker.mjs", import.meta.url).href, name, keep);
  try {
    await tab.enter();
    return tab;
  } catch (error) {
    warn("this page has a hub of its own, and shares none with other tabs", error);
    return undefined;
  }
}

/**
 * Runs the `<script type="text/x-pyworkers">` blocks of the document in order, in one hub.
 * @param {DOMStringMap} options the data attributes of the script tag: size, packages, modules,
 *   offline, isolate, tabs
 * @returns {Promise<import("./connection.mjs").Connection>}
 */
export async function runBlocks({ size, packages, modules, offline, isolate: policy, tabs }) {
  const list = (/** @type {string | undefined} */ text) => text?.split(/[\s,]+/).filter(Boolean);
  const connection = await connect({
    ...(size ? { size: Number(size) } : {}),
    packages: list(packages) ?? [],
    modules: list(modules) ?? [],
    ...(offline === undefined ? {} : { offline: offline !== "off" }),
    ...(policy === undefined ? {} : { isolate: asPolicy(policy) }),
    tabs: tabs !== undefined,
  });
  /** @type {Map<number, Element>} */
  const outputs = new Map();
  const elsewhere = connection.onOutput;
  connection.onOutput = (output) => {
    const element = outputs.get(output.id ?? 0);
    if (element) append(element, output);
    else elsewhere(output);
  };
  let round = 0;
  const run = async () => {
    const own = ++round;
    const isOver = () => own !== round;
    for (const block of blocks()) if (!isOver()) await runBlock(connection, block, outputs, isOver);
  };
  let ran = run();
  connection.onRestart = () => {
    for (const element of new Set(outputs.values())) element.textContent = "";
    ran = run();
  };
  for (let awaited; awaited !== ran; ) {
    awaited = ran;
    await awaited;
  }
  return connection;
}

/**
 * @param {Connection} connection
 * @param {HTMLScriptElement} block
 * @param {Map<number, Element>} outputs by the id of what prints there
 * @param {() => boolean} isOver whether the blocks are run anew
 */
async function runBlock(connection, block, outputs, isOver) {
  const selector = block.dataset.output;
  const element = selector ? document.querySelector(selector) : undefined;
  if (element === null) console.error(`pyworkers: no element matches data-output="${selector}"`);
  try {
    // A block is a statement: whatever value it ends with is nobody's.
    await connection.exec(`${await source(block)}\nNone`, {
      filename: block.getAttribute("src") ?? `<block ${blocks().indexOf(block) + 1}>`,
      onId: (id) => element && outputs.set(id, element),
    });
    block.dispatchEvent(new CustomEvent("pyworkers:done", { bubbles: true }));
  } catch (error) {
    if (isOver()) return;
    const { pythonTraceback, message } = /** @type {any} */ (error);
    const text = `${(pythonTraceback || message).trimEnd()}\n`;
    if (element) append(element, { stream: "stderr", text });
    else console.error(text);
    const event = new CustomEvent("pyworkers:error", { bubbles: true, detail: error });
    block.dispatchEvent(event);
  }
}

/** @param {string} value of the attribute data-isolate */
const asPolicy = (value) => (value === "credentialless" ? value : value !== "off");

/** @returns {HTMLScriptElement[]} */
const blocks = () => [...document.querySelectorAll("script")].filter(isBlock);

/** @param {HTMLScriptElement} script */
const isBlock = (script) => script.type === "text/x-pyworkers";

/** @param {HTMLScriptElement} block */
async function source(block) {
  const url = block.getAttribute("src");
  if (!url) return dedent(block.textContent ?? "");
  return (await load(url)).text();
}

/**
 * Takes away the indentation of the surrounding HTML.
 * @param {string} text
 */
function dedent(text) {
  const lines = text.split("\n");
  const used = lines.filter((line) => line.trim());
  const margins = used.map((line) => line.length - line.trimStart().length);
  const margin = Math.min(...margins, text.length);
  return lines.map((line) => line.slice(margin)).join("\n");
}

/**
 * @param {Element} element
 * @param {{stream: string, text: string}} output
 */
function append(element, { stream, text }) {
  const span = document.createElement("span");
  span.className = `pyworkers-${stream}`;
  span.textContent = text;
  element.append(span);
}
