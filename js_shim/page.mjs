/**
 * The entry for web pages: `import {connect} from ".../page.mjs"`.
 *
 * Owns what is particular to a page: where the site lies, relative URLs, and the Python blocks of
 * a document.
 */

import { load } from "./assets.mjs";
import { open, siteFrom } from "./connection.mjs";
import { isolate, keepOffline } from "./service.mjs";

export { Channel } from "./channels.mjs";
export { Connection, PyworkersError } from "./connection.mjs";
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
 */

/**
 * Starts a hub in a worker. The page's own thread runs no Python.
 * @param {import("./connection.mjs").ConnectOptions & PageOptions} [options]
 * @returns {Promise<import("./connection.mjs").Connection>}
 */
export async function connect({ offline, isolate: policy, ...options } = {}) {
  const serviceURL = new URL("./service_worker.js", import.meta.url).href;
  if (policy !== undefined) await isolate(serviceURL, policy);
  const base = new URL("./pyworkers.json", import.meta.url).href;
  const response = await load(base);
  const workerURL = new URL("./worker.mjs", import.meta.url).href;
  const modules = (options.modules ?? []).map((url) => new URL(url, document.baseURI).href);
  const site = siteFrom(await response.json(), base);
  const connection = await open(site, workerURL, { ...options, modules });
  // Not before: the start is not to wait for it, and what it fetches is in the browser's cache now.
  if (offline !== undefined) keepOffline(serviceURL, offline);
  return connection;
}

/**
 * Runs the `<script type="text/x-pyworkers">` blocks of the document in order, in one hub.
 * @param {DOMStringMap} options the data attributes of the script tag: size, packages, modules,
 *   offline, isolate
 * @returns {Promise<import("./connection.mjs").Connection>}
 */
export async function runBlocks({ size, packages, modules, offline, isolate: policy }) {
  /** @type {Map<number, Element>} */
  const outputs = new Map();
  const list = (/** @type {string | undefined} */ text) => text?.split(/[\s,]+/).filter(Boolean);
  const connection = await connect({
    ...(size ? { size: Number(size) } : {}),
    packages: list(packages) ?? [],
    modules: list(modules) ?? [],
    ...(offline === undefined ? {} : { offline: offline !== "off" }),
    ...(policy === undefined ? {} : { isolate: asPolicy(policy) }),
  });
  const elsewhere = connection.onOutput;
  connection.onOutput = (output) => {
    const element = outputs.get(output.id ?? 0);
    if (element) append(element, output);
    else elsewhere(output);
  };
  for (const block of blocks()) {
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
      const { pythonTraceback, message } = /** @type {any} */ (error);
      const text = `${(pythonTraceback || message).trimEnd()}\n`;
      if (element) append(element, { stream: "stderr", text });
      else console.error(text);
      const event = new CustomEvent("pyworkers:error", { bubbles: true, detail: error });
      block.dispatchEvent(event);
    }
  }
  return connection;
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
