/**
 * The one way an interpreter starts: hub or worker, browser or Node.
 *
 * Owns the assets of Pyodide (fetched and compiled once by a broker, handed to every thread) and
 * the settings of `loadPyodide`. Knows nothing of channels or tasks.
 */

/**
 * Where Pyodide's files are.
 * @typedef {object} Site
 * @property {string} indexURL folder of pyodide.mjs and its core, with a slash at the end
 * @property {string} packageBaseURL folder of the wheels that the lock file names
 * @property {string} [lock] text of the lock file, if it is known; else it lies beside the wheels
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
 * @property {Uint8Array} stdlib
 * @property {string} lock text of the lock file
 * @property {Host | undefined} host
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
    return new Response(fs.readFileSync(new URL(url)), {
      headers: { "content-type": url.endsWith(".wasm") ? "application/wasm" : "" },
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
 * @param {string} url
 * @returns {Promise<WebAssembly.Module>}
 */
async function compile(url) {
  const response = await load(url);
  const type = response.headers.get("content-type") ?? "";
  return type.startsWith("application/wasm")
    ? WebAssembly.compileStreaming(response)
    : WebAssembly.compile(await response.arrayBuffer());
}

/**
 * Fetches the core once and compiles it once.
 * @param {Site} site
 * @returns {Promise<Assets>}
 */
export async function fetchAssets({ indexURL, packageBaseURL, lock, host }) {
  const [module, stdlib, lockText] = await Promise.all([
    compile(`${indexURL}pyodide.asm.wasm`),
    load(`${indexURL}python_stdlib.zip`).then((response) => response.arrayBuffer()),
    lock ?? load(`${packageBaseURL}pyodide-lock.json`).then((response) => response.text()),
  ]);
  return { indexURL, packageBaseURL, module, stdlib: new Uint8Array(stdlib), lock: lockText, host };
}

/**
 * The two imports that Pyodide's loader adds to the module, as the loader itself provides them
 * where the engine lacks the reference types it would rather use: a JavaScript error is one marker.
 * @param {any} imports
 */
function addErrorImports(imports) {
  const marker = Symbol("error");
  imports.env.Jsv_GetError_import = () => marker;
  imports.env.JsvError_Check = (/** @type {unknown} */ value) => value === marker;
}

/**
 * Starts an interpreter.
 * @param {Assets} assets
 * @param {{stdout: (bytes: Uint8Array) => void, stderr: (bytes: Uint8Array) => void}} streams
 * @returns {Promise<any>} Pyodide's API object
 */
export async function boot(assets, streams) {
  const { indexURL } = assets;
  const [{ loadPyodide }, { default: createModule }] = await Promise.all([
    import(`${indexURL}pyodide.mjs`),
    import(`${indexURL}pyodide.asm.mjs`),
  ]);
  const stdlib = inNode ? undefined : URL.createObjectURL(new Blob([assets.stdlib.slice()]));
  const path = (/** @type {string} */ url) =>
    url.startsWith("file:") ? decodeURIComponent(new URL(url).pathname) : url;
  /** @type {(error: unknown) => void} */
  let fail = () => {};
  const failed = new Promise((_, reject) => {
    fail = reject;
  });
  const started = loadPyodide({
    // The loader fetches `indexURL + "pyodide.asm.wasm"` at once, needed or not; a data: URL
    // answers without the network. Nothing else is looked up there.
    indexURL: inNode ? path(indexURL) : "data:application/wasm,",
    ...(stdlib ? { stdLibURL: stdlib } : {}),
    lockFileContents: assets.lock,
    packageBaseUrl: path(assets.packageBaseURL),
    ...(assets.host ? hostSettings(assets.host) : {}),
    createPyodideModule: (/** @type {any} */ settings) => {
      settings.instantiateWasm = (
        /** @type {WebAssembly.Imports} */ imports,
        /** @type {(instance: WebAssembly.Instance, module: WebAssembly.Module) => void} */ done,
      ) => {
        addErrorImports(imports);
        WebAssembly.instantiate(assets.module, imports).then(
          (instance) => done(instance, assets.module),
          fail,
        );
        return {};
      };
      return createModule(settings);
    },
  });
  const pyodide = await Promise.race([started, failed]);
  if (assets.host) pyodide.FS.chdir(assets.host.folders[0]);
  if (stdlib) URL.revokeObjectURL(stdlib);
  for (const stream of /** @type {const} */ (["stdout", "stderr"])) {
    const write = (/** @type {Uint8Array} */ bytes) => {
      streams[stream](bytes);
      return bytes.length;
    };
    pyodide[stream === "stdout" ? "setStdout" : "setStderr"]({ write, isatty: false });
  }
  return pyodide;
}

/**
 * Mounts folders before Python starts: what it finds absent then, it takes for absent later.
 * @param {Host} host
 */
function hostSettings({ folders, path }) {
  const fsInit = async (/** @type {any} */ FS) => {
    for (const root of folders) {
      FS.mkdirTree(root);
      FS.mount(FS.filesystems.NODEFS, { root }, root);
    }
  };
  return { env: { PYTHONPATH: path }, fsInit };
}
