/**
 * The entry for Node: `import {connect} from ".../node.mjs"`, and `node node.mjs SCRIPT [ARG...]`.
 *
 * Owns what is particular to Node: files in place of URLs, and a script's exit code.
 */

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { open, siteFrom } from "./connection.mjs";
import { HubThread } from "./hub_thread.mjs";

export { PyworkersError } from "./asked.mjs";
export { Connection } from "./connection.mjs";

/**
 * @param {import("./connection.mjs").ConnectOptions} options
 * @param {import("./assets.mjs").Host} [host]
 */
async function start(options, host) {
  const base = new URL("./pyworkers.json", import.meta.url);
  const config = JSON.parse(fs.readFileSync(base, "utf8"));
  const workerURL = new URL("./worker.mjs", import.meta.url).href;
  const site = siteFrom(config, base.href);
  return open(new HubThread(host ? { ...site, host } : site, workerURL), options);
}

/**
 * Starts a hub on a worker thread.
 * @param {import("./connection.mjs").ConnectOptions} [options]
 * @returns {Promise<import("./connection.mjs").Connection>}
 */
export async function connect(options = {}) {
  return start(options);
}

/** @param {string[]} argv the script and its arguments */
async function main(argv) {
  const script = path.resolve(/** @type {string} */ (argv[0]));
  const folder = path.dirname(script);
  const current = process.cwd();
  const inside = !path.relative(current, folder).startsWith("..");
  const host = { folders: inside ? [current] : [current, folder], path: folder };
  const onOutput = (/** @type {{stream: string, text: string}} */ { stream, text }) => {
    process[stream === "stderr" ? "stderr" : "stdout"].write(text);
  };
  const connection = await start({ onOutput }, host);
  try {
    const source = fs.readFileSync(script, "utf8");
    await connection.exec(source, { filename: script, argv });
  } catch (error) {
    const { name, message, pythonTraceback } = /** @type {any} */ (error);
    process.exitCode = 1;
    if (name === "SystemExit" && /^\d+$/.test(message)) process.exitCode = Number(message);
    else if (name === "SystemExit" && message === "None") process.exitCode = 0;
    else process.stderr.write(`${(pythonTraceback || message).trimEnd()}\n`);
  } finally {
    connection.close();
  }
}

const started = process.argv[1] && path.resolve(process.argv[1]);
if (started === fileURLToPath(import.meta.url)) {
  if (process.argv.length < 3) {
    process.stderr.write("usage: node node.mjs SCRIPT [ARG...]\n");
    process.exitCode = 2;
  } else {
    await main(process.argv.slice(2));
  }
}
