/**
 * The one way an interpreter starts: hub or worker, browser or Node.
 *
 * Owns the settings of `loadPyodide`, plain or from a memory snapshot. Knows nothing of where the
 * assets come from, nor of channels or tasks.
 */

import { bytesOf, inNode, LOADERS, warn } from "./assets.mjs";
import { putBack } from "./files.mjs";
import {
  clearFree,
  matchSnapshot,
  packSnapshot,
  pyodideHeader,
  restoreSnapshot,
  snapshotPlaces,
  usedPages,
  verifySnapshot,
} from "./snapshot.mjs";
import { link, placesIn } from "./symbols.mjs";

/** @typedef {import("./assets.mjs").Assets} Assets */
/** @typedef {import("./assets.mjs").Bulk} Bulk */
/** @typedef {import("./assets.mjs").Host} Host */
/** @typedef {import("./fork.mjs").Fork} Fork */

/** Measures phases that follow each other, in milliseconds. */
export class Stopwatch {
  /** @type {[string, number][]} */
  phases = [];
  #last = performance.now();

  /**
   * Ends a phase: it began where the one before it ended.
   * @param {string} phase
   */
  lap(phase) {
    const now = performance.now();
    this.phases.push([phase, now - this.#last]);
    this.#last = now;
  }
}

/**
 * Imports Pyodide's modules: from memory, so that no worker asks the server for them again.
 * @param {Assets} assets
 * @returns {Promise<any[]>}
 */
async function importLoaders({ indexURL, scripts }) {
  const fetched = () => Promise.all(LOADERS.map((name) => import(`${indexURL}${name}`)));
  if (inNode) return fetched();
  const urls = scripts.map((script) => URL.createObjectURL(script));
  try {
    return await Promise.all(urls.map((url) => import(url)));
  } catch {
    return fetched(); // The page's policy forbids scripts from blobs.
  } finally {
    urls.forEach(URL.revokeObjectURL);
  }
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
 * @typedef {{stdout: (bytes: Uint8Array) => void, stderr: (bytes: Uint8Array) => void}} Streams
 */

/** Where the start archive lies in an interpreter's file system, and Python finds its modules. */
const ARCHIVE_PATH = "/lib/pyworkers.zip";

/** The number of the clock that tells the date, in the interface of WASI. */
const REAL_TIME = 0;

/** What Python does before its memory is taken, and in each interpreter that is made of it. */
const SNAPSHOT_MODULE = "pyworkers._snapshot";

/** The same where a set-up has been run. */
export const FORK_MODULE = "pyworkers._forking";

/** @param {string} url of what Node reads by its path */
const nodePath = (url) =>
  url.startsWith("file:") ? decodeURIComponent(new URL(url).pathname) : url;

/**
 * How else an interpreter can start.
 * @typedef {object} Way
 * @property {Fork} [fork] from whose state it starts, if that works
 * @property {(reason: string) => void} [unforked] called if it does not
 * @property {Taking} [taking] is filled, so that the memory can be taken later
 */

/**
 * What is known of an interpreter whose memory may be taken.
 * @typedef {object} Taking
 * @property {Set<number>} fresh the pages that it used before it ran or was restored
 */

/**
 * Starts an interpreter with the packages of a start archive.
 * @param {Assets} assets
 * @param {Bulk} archive
 * @param {Streams} streams
 * @param {Stopwatch} watch
 * @param {Way} [way]
 * @returns {Promise<any>} Pyodide's API object
 */
export async function boot(assets, archive, streams, watch, { fork, unforked, taking } = {}) {
  const [packages, snapshot] = await Promise.all([
    bytesOf(archive),
    assets.snapshot && bytesOf(assets.snapshot),
  ]);
  let pyodide;
  if (fork) {
    try {
      pyodide = await startFork(fork, assets, packages, watch);
    } catch (error) {
      unforked?.(/** @type {Error} */ (error).message);
    }
  }
  if (!pyodide && snapshot) {
    try {
      pyodide = await startFrom(snapshot, assets, packages, watch, taking);
    } catch (error) {
      warn("Python starts without the snapshot", error);
    }
  }
  if (!pyodide) {
    const settings = taking ? { _makeSnapshot: true } : {};
    pyodide = await startPlainly(assets, packages, watch, settings, taking && noting(taking));
  }
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
 * Makes a snapshot of a new interpreter that has imported what hubs and workers need.
 * @param {Assets} assets
 * @param {Bulk} archive
 * @returns {Promise<Uint8Array<ArrayBuffer>>} uncompressed
 */
export async function makeSnapshot(assets, archive) {
  const packages = await bytesOf(archive);
  /** @type {Taking} */
  const taking = { fresh: new Set() };
  let count = 0;
  // In Node the name of the program would be a path of this machine.
  const settings = { _makeSnapshot: true, _sysExecutable: "./this.program" };
  const watch = new Stopwatch();
  const pyodide = await startPlainly({ ...assets, host: undefined }, packages, watch, settings, {
    before(module) {
      module.onRuntimeInitialized = () => {
        taking.fresh = usedPages(module.HEAPU8);
        count = functionCount(module);
      };
    },
    importing: claimStackSwitching,
  });
  pyodide.pyimport(SNAPSHOT_MODULE).prepare();
  if (functionCount(pyodide._module) !== count) {
    throw new Error("the memory refers to functions that no other instance would have");
  }
  return takeMemory(pyodide, taking, packages);
}

/**
 * @param {any} module of Emscripten
 * @returns {number} how many functions it has that can be called by a number
 */
export const functionCount = ({ wasmTable, freeTableIndexes }) =>
  wasmTable.length - freeTableIndexes.length;

/**
 * @param {any} pyodide
 * @param {Taking} taking
 * @param {Uint8Array} archive that it started with
 * @returns {Uint8Array<ArrayBuffer>}
 * @throws {Error} it holds an object of JavaScript
 */
export function takeMemory(pyodide, { fresh }, archive) {
  const { _module: module, _api: api } = pyodide;
  clearFree(module);
  const memory = pyodide.makeMemorySnapshot();
  return packSnapshot(memory, fresh, api.config.BUILD_ID, archive, placesIn(module));
}

/**
 * @param {Taking} taking
 * @returns {Hooks}
 */
const noting = (taking) => ({
  before(module) {
    module.onRuntimeInitialized = () => {
      taking.fresh = usedPages(module.HEAPU8);
    };
  },
});

/**
 * @param {Assets} assets
 * @param {Uint8Array} archive
 * @param {Stopwatch} watch
 * @param {Record<string, unknown>} [settings] more of them
 * @param {Hooks} [hooks]
 */
async function startPlainly(assets, archive, watch, settings = {}, hooks = {}) {
  const { stdlib } = assets;
  const blob = stdlib instanceof Blob ? stdlib : new Blob([stdlib.slice()]);
  const stdLibURL = inNode ? undefined : URL.createObjectURL(blob);
  const chosen = { ...(stdLibURL && { stdLibURL }), ...settings };
  const pyodide = await launch(assets, chosen, watch, hooks);
  watch.lap("start");
  if (stdLibURL) URL.revokeObjectURL(stdLibURL);
  putFile(pyodide.FS, ARCHIVE_PATH, archive);
  pyodide._api.sys.path.append(ARCHIVE_PATH);
  if (assets.host) pyodide.FS.chdir(assets.host.folders[0]);
  watch.lap("archive");
  return pyodide;
}

/**
 * @param {Uint8Array} snapshot
 * @param {Assets} assets
 * @param {Uint8Array} archive
 * @param {Stopwatch} watch
 * @param {Taking} [taking]
 */
async function startFrom(snapshot, assets, archive, watch, taking) {
  const settings = taking ? { _makeSnapshot: true } : {};
  const pyodide = await restore(snapshot, assets, archive, watch, settings, {}, taking);
  watch.lap("restore");
  putFile(pyodide.FS, ARCHIVE_PATH, archive);
  const language = (globalThis.navigator?.language ?? "C").replace("-", "_");
  pyodide.pyimport(SNAPSHOT_MODULE).renew(`${language}.UTF-8`, assets.host?.path);
  if (assets.host) pyodide.FS.chdir(assets.host.folders[0]);
  watch.lap("archive");
  return pyodide;
}

/**
 * @param {Fork} fork
 * @param {Assets} assets
 * @param {Uint8Array} archive
 * @param {Stopwatch} watch
 */
async function startFork({ memory, files, folder, packages, began }, assets, archive, watch) {
  const [bytes, contents] = await Promise.all([bytesOf(memory), bytesOf(files.contents)]);
  verifySnapshot(bytes);
  /** @type {any} */
  let instance;
  const hooks = {
    before(/** @type {any} */ module) {
      instance = module;
    },
    importing: (/** @type {any} */ imports) =>
      advanceClock(imports, () => instance, performance.timeOrigin - began),
  };
  const pyodide = await restore(bytes, assets, archive, watch, {}, hooks);
  putFile(pyodide.FS, ARCHIVE_PATH, archive);
  putBack(pyodide.FS, files, contents);
  pyodide.FS.chdir(folder);
  Object.assign(pyodide.loadedPackages, packages);
  pyodide.pyimport(FORK_MODULE).resume();
  watch.lap("fork");
  return pyodide;
}

/**
 * Has the clock that cannot be set go on where another thread's was: readings of it are in the memory.
 * @param {any} imports
 * @param {() => any} module once there is one
 * @param {number} ahead milliseconds
 */
function advanceClock({ wasi_snapshot_preview1: wasi }, module, ahead) {
  const read = wasi.clock_time_get;
  const nanoseconds = BigInt(Math.round(ahead * 1e6));
  wasi.clock_time_get = (
    /** @type {number} */ clock,
    /** @type {bigint} */ precision,
    /** @type {number} */ place,
  ) => {
    const failed = read(clock, precision, place);
    if (clock !== REAL_TIME && !failed) module().HEAP64[place >>> 3] += nanoseconds;
    return failed;
  };
}

/**
 * Starts an interpreter whose memory is a snapshot's.
 * @param {Uint8Array} snapshot
 * @param {Assets} assets
 * @param {Uint8Array} archive
 * @param {Stopwatch} watch
 * @param {Record<string, unknown>} settings
 * @param {Hooks} hooks
 * @param {Taking} [taking]
 */
async function restore(snapshot, assets, archive, watch, settings, hooks, taking) {
  const stdlib = await bytesOf(assets.stdlib);
  const stdLibURL = inNode ? {} : { stdLibURL: "data:," };
  const loading = { _loadSnapshot: pyodideHeader(snapshot), ...stdLibURL, ...settings };
  return launch(assets, loading, watch, {
    before(module) {
      hooks.before?.(module);
      matchSnapshot(snapshot, module.API.config.BUILD_ID, archive);
    },
    ...(hooks.importing && { importing: hooks.importing }),
    places: snapshotPlaces(snapshot),
    after(module) {
      if (taking) taking.fresh = usedPages(module.HEAPU8);
      const index = trampolineIndex(module);
      const trampoline = module.HEAP32[index];
      restoreSnapshot(snapshot, module);
      module.HEAP32[index] = trampoline;
      setTimeZone(module);
      const [major, minor] = module.API.pyVersionTuple;
      putFile(module.FS, `/lib/python${major}${minor}.zip`, stdlib);
    },
  });
}

/**
 * Has Python's C code believe that the engine can switch stacks. It asks once, and would not ask
 * again in another engine; whether a switch is possible at some moment is asked in JavaScript.
 * @param {any} imports
 */
function claimStackSwitching({ env }) {
  const answer = env.emscripten_asm_const_int;
  env.emscripten_asm_const_int = (/** @type {unknown[]} */ ...question) => {
    const found = answer(...question);
    return typeof found === "boolean" ? true : found;
  };
}

/**
 * Where a memory holds the function by which Python calls C, if the engine is able to have one in
 * WebAssembly: it then has its place in the engine's own table.
 * @param {any} module
 */
const trampolineIndex = ({ HEAP32, __PyRuntime, __PyEM_EMSCRIPTEN_TRAMPOLINE_OFFSET }) =>
  (__PyRuntime + HEAP32[__PyEM_EMSCRIPTEN_TRAMPOLINE_OFFSET / 4]) / 4;

/**
 * Sets the C library's time zone, which it asks for once.
 * @param {any} module
 */
function setTimeZone(module) {
  const [standard, summer] = module.HEAPU32.subarray(module.___tzname / 4);
  module.__tzset_js(module._timezone, module._daylight, standard, summer);
}

/**
 * Makes a file of bytes that it then shares; nobody writes to it.
 * @param {any} FS
 * @param {string} path
 * @param {Uint8Array} bytes
 */
const putFile = (FS, path, bytes) => FS.writeFile(path, bytes, { canOwn: true });

/**
 * What is to be done on the way.
 * @typedef {object} Hooks
 * @property {(module: any) => void} [before] gets Emscripten's module before it is instantiated
 * @property {(imports: any) => void} [importing] gets what it imports
 * @property {(module: any) => void} [after] gets it before Pyodide looks at its memory
 * @property {Uint32Array} [places] where its functions are, if that is known
 */

/**
 * @param {Assets} assets
 * @param {Record<string, unknown>} settings of `loadPyodide`
 * @param {Stopwatch} watch
 * @param {Hooks} hooks
 */
async function launch(assets, settings, watch, { before, importing, after, places }) {
  const { indexURL, host } = assets;
  const [{ loadPyodide }, { default: createModule }] = await importLoaders(assets);
  watch.lap("loader");
  /** @type {(error: unknown) => void} */
  let fail = () => {};
  const failed = new Promise((_, reject) => {
    fail = reject;
  });
  const started = loadPyodide({
    // The loader fetches `indexURL + "pyodide.asm.wasm"` at once, needed or not; a data: URL
    // answers without the network. Nothing else is looked up there.
    indexURL: inNode ? nodePath(indexURL) : "data:application/wasm,",
    lockFileContents: assets.lock,
    packageBaseUrl: nodePath(assets.packageBaseURL),
    ...(host ? hostSettings(host) : {}),
    ...settings,
    createPyodideModule: async (/** @type {any} */ module) => {
      before?.(module);
      module.instantiateWasm = (
        /** @type {WebAssembly.Imports} */ imports,
        /** @type {(instance: WebAssembly.Instance, module: WebAssembly.Module) => void} */ done,
      ) => {
        addErrorImports(imports);
        importing?.(imports);
        WebAssembly.instantiate(assets.module, imports)
          .then((instance) => {
            watch.lap("instantiate");
            link(module, imports, instance, places, () => done(instance, assets.module));
          })
          .catch(fail);
        return {};
      };
      const created = await createModule(module);
      after?.(created);
      return created;
    },
  });
  return Promise.race([started, failed]);
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
