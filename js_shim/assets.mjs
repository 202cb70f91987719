/**
 * The assets: what every interpreter of a page is made of, fetched and compiled once.
 *
 * Owns where they come from and how they are kept so that all threads have them: by fetching, from
 * files in Node, in memory that is shared where there is any. Knows nothing of how an interpreter
 * is started.
 */

import { collectSnapshot, verifySnapshot } from "./snapshot.mjs";

/**
 * Where Pyodide's files are.
 * @typedef {object} Site
 * @property {string} indexURL folder of pyodide.mjs and its core, with a slash at the end
 * @property {string} packageBaseURL folder of the wheels that the lock file names
 * @property {string} [lock] text of the lock file, if it is known; else it lies beside the wheels
 * @property {string} [archiveURL] of the start archive, the zip of packages that a hub starts with
 * @property {string} [snapshotURL] of a memory snapshot: compressed by gzip, or as it is where it is
 *   called .memory
 * @property {Host} [host] what a script in Node sees of the machine
 */

/**
 * @typedef {object} Host
 * @property {string[]} folders each is there under its own path; the first is the current one
 * @property {string} path folder from which modules are imported first
 */

/**
 * What every interpreter of a page is made of; can be posted to a worker.
 * @typedef {object} Assets
 * @property {string} indexURL
 * @property {string} packageBaseURL
 * @property {WebAssembly.Module} module
 * @property {Blob[]} scripts content of LOADERS; none in Node
 * @property {Bulk} stdlib
 * @property {string} lock text of the lock file
 * @property {Bulk | undefined} archive
 * @property {Bulk | undefined} snapshot which has been verified
 * @property {Host | undefined} host
 * @property {AssetFile[]} files that were fetched for it
 */

/**
 * @typedef {object} AssetFile
 * @property {string} name
 * @property {number | undefined} bytes of its body as it travelled or was kept, compressed or not;
 *   undefined where nobody tells
 * @property {number} milliseconds until it was ready for use: unpacked, compiled
 */

/** Pyodide's modules: what loads it, and what goes with the WebAssembly module. */
export const LOADERS = ["pyodide.mjs", "pyodide.asm.mjs"];

/**
 * Bytes of which all threads have one copy in common: shared memory, or a blob where there is none.
 * @typedef {Uint8Array | Blob} Bulk
 */

export const inNode = typeof process === "object" && typeof process.versions?.node === "string";

/**
 * Fetches a URL, or reads a file in Node; what fails names the URL.
 * @param {string} url
 * @returns {Promise<Response>}
 */
export async function load(url) {
  if (url.startsWith("file:")) {
    const fs = /** @type {any} */ (process).getBuiltinModule("node:fs");
    const bytes = fs.readFileSync(new URL(url));
    return new Response(bytes, {
      headers: {
        "content-length": bytes.length,
        "content-type": url.endsWith(".wasm") ? "application/wasm" : "",
      },
    });
  }
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new Error(`cannot load ${url}: ${/** @type {Error} */ (error).message}`);
  }
  if (!response.ok) throw new Error(`cannot load ${url}: HTTP ${response.status}`);
  return response;
}

/**
 * @param {Response} response
 * @returns {Promise<WebAssembly.Module>}
 */
async function compile(response) {
  const type = response.headers.get("content-type") ?? "";
  // What is compiled while it arrives must have this type, without parameters.
  return type.trim().toLowerCase() === "application/wasm"
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}

/**
 * Memory that can be shared, where there is any.
 * @param {number} length
 */
const allocateBulk = (length) =>
  new Uint8Array(
    typeof SharedArrayBuffer === "function"
      ? new SharedArrayBuffer(length)
      : new ArrayBuffer(length),
  );

/**
 * @param {Uint8Array} bytes allocated
 * @returns {Bulk}
 */
const bulkOf = (bytes) =>
  bytes.buffer instanceof ArrayBuffer
    ? new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (bytes)])
    : bytes;

/**
 * @param {Bulk} bulk
 * @returns {Promise<Uint8Array>}
 */
export async function bytesOf(bulk) {
  return bulk instanceof Uint8Array ? bulk : new Uint8Array(await bulk.arrayBuffer());
}

/**
 * @param {Response} response
 * @returns {Promise<Bulk>}
 */
async function readBulk(response) {
  return asBulk(new Uint8Array(await response.arrayBuffer()));
}

/**
 * @param {Uint8Array} bytes
 * @returns {Bulk} a copy
 */
export function asBulk(bytes) {
  const copy = allocateBulk(bytes.length);
  copy.set(bytes);
  return bulkOf(copy);
}

/** A script whose whole content is one function, which whoever imports it calls. */
const ONE_FUNCTION = /^(async function (\w+)\([\s\S]*\})\s*export default \2;\s*$/;

/**
 * @param {Response} response
 * @returns {Promise<Blob>}
 */
async function readScript(response) {
  const text = await response.text();
  // In parentheses, it is compiled when the script is; else it is only skipped then, at nearly the
  // same cost, and compiled when it is called.
  const hinted = text.replace(ONE_FUNCTION, "const $2 = ($1);\nexport default $2;\n");
  return new Blob([hinted], { type: "text/javascript" });
}

/**
 * Without a snapshot, interpreters only start more slowly; so what is wrong with it is a warning.
 * @param {Response} response
 * @param {string} which its URL, or what it is
 * @returns {Promise<Bulk | undefined>}
 */
export async function readSnapshot(response, which) {
  try {
    const packed = !which.endsWith(".memory");
    const pieces = packed ? unpacked(response) : piecesOf(response);
    const snapshot = await collectSnapshot(pieces, allocateBulk);
    if (!packed) verifySnapshot(snapshot);
    return bulkOf(snapshot);
  } catch (error) {
    warn(`the snapshot ${which} is not used`, error);
    return undefined;
  }
}

/**
 * @param {Response} response compressed by gzip
 * @returns {AsyncGenerator<Uint8Array>}
 */
async function* unpacked(response) {
  if (inNode) {
    // Several times as fast there as its DecompressionStream.
    const { gunzipSync } = /** @type {any} */ (process).getBuiltinModule("node:zlib");
    yield gunzipSync(await response.arrayBuffer());
    return;
  }
  const body = /** @type {ReadableStream<BufferSource>} */ (response.body);
  yield* piecesOf({ body: body.pipeThrough(new DecompressionStream("gzip")) });
}

/**
 * @param {{body: ReadableStream<Uint8Array> | null}} response
 * @returns {AsyncGenerator<Uint8Array>}
 */
async function* piecesOf({ body }) {
  // Not every browser can iterate over a stream.
  const reader = /** @type {ReadableStream<Uint8Array>} */ (body).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

/**
 * @param {string} what
 * @param {unknown} error
 */
export const warn = (what, error) =>
  console.warn(`pyworkers: ${what}: ${/** @type {Error} */ (error).message}`);

/**
 * @param {string} url
 * @param {Response} response that was read to its end
 * @returns {number | undefined}
 */
function sizeOf(url, response) {
  const told = response.headers.get("content-length");
  if (told) return Number(told);
  // Of a body without a length; 0 from another origin that does not allow to ask.
  const [timing] = performance.getEntriesByName(url, "resource");
  return (
    /** @type {PerformanceResourceTiming | undefined} */ (timing)?.encodedBodySize || undefined
  );
}

/**
 * Fetches the core once and compiles it once.
 * @param {Site} site
 * @returns {Promise<Assets>}
 */
export async function fetchAssets(site) {
  const { indexURL, packageBaseURL, lock, archiveURL, snapshotURL, host } = site;
  /** @type {AssetFile[]} */
  const files = [];
  /**
   * @template T
   * @param {string} url
   * @param {(response: Response) => Promise<T>} read
   * @returns {Promise<T>}
   */
  const get = async (url, read) => {
    const began = performance.now();
    const response = await load(url);
    const content = await read(response);
    const milliseconds = performance.now() - began;
    const name = /** @type {string} */ (url.split("/").at(-1));
    files.push({ name, bytes: sizeOf(url, response), milliseconds });
    return content;
  };
  const [module, scripts, stdlib, lockText, archive, snapshot] = await Promise.all([
    get(`${indexURL}pyodide.asm.wasm`, compile),
    Promise.all(inNode ? [] : LOADERS.map((name) => get(`${indexURL}${name}`, readScript))),
    get(`${indexURL}python_stdlib.zip`, readBulk),
    lock ?? get(`${packageBaseURL}pyodide-lock.json`, (response) => response.text()),
    archiveURL ? get(archiveURL, readBulk) : undefined,
    snapshotURL
      ? get(snapshotURL, (response) => readSnapshot(response, snapshotURL)).catch((error) =>
          warn(`the snapshot ${snapshotURL} is not used`, error),
        )
      : undefined,
  ]);
  const content = {
    module,
    scripts,
    stdlib,
    lock: lockText,
    archive,
    snapshot: snapshot ?? undefined,
  };
  return { indexURL, packageBaseURL, host, files, ...content };
}
