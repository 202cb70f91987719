/**
 * The symbols of Pyodide's core: the addresses of its functions, as Emscripten's loader gives them.
 *
 * Owns what is spared of that loader's work, whose objects would stay in memory. An address is a place
 * in the table of functions.
 *
 * - The global offset table (GOT), from which shared libraries learn addresses, has an entry for each
 *   of the core's 8,500 symbols as soon as somebody asks for it, not before. 5,400 functions of the
 *   core have no address until then.
 * - JavaScript functions that the core needs addresses of must become functions of WebAssembly. One
 *   module makes them so; the loader would compile one for each.
 * - To know which function has an address already, the loader looks at each place in the table, which
 *   makes an object of JavaScript for what is there. A snapshot knows it.
 *
 * Knows nothing of how a snapshot is kept. In one that was made without this, addresses differ.
 */

/** What is at a place of the table that no name leads to. */
const NAMELESS = {};

/** What the loader leaves alone, as it seems to have an address. */
const KNOWN = { value: 0 };

/**
 * What the loader was given for a module.
 * @type {WeakMap<object, {exports: WebAssembly.Exports, size: number}>}
 */
const linked = new WeakMap();

/**
 * Has Emscripten's loader take an instance of the core.
 * @param {any} module of Emscripten
 * @param {any} imports that the instance was made with
 * @param {WebAssembly.Instance} instance
 * @param {Uint32Array | undefined} places what `placesIn` returned for another instance
 * @param {() => void} take calls the loader
 */
export function link(module, { env }, { exports }, places, take) {
  const { GOT, wasmTableMirror: mirror, addFunction, getFunctionAddress, isInternalSym } = module;
  const table = /** @type {WebAssembly.Table} */ (exports.__indirect_function_table);
  const size = table.length;
  linked.set(module, { exports, size });
  if (places) showPlaces(mirror, size, exports, places);
  const foreign = Object.keys(GOT).filter((name) => env[name]?.sig && !(name in exports));
  const functions = [...new Set(foreign.map((name) => env[name]))];
  table.grow(functions.length);
  asWasm(functions).forEach((made, index) => {
    table.set(size + index, made);
    mirror[size + index] = functions[index];
  });
  for (const name of foreign) GOT[name].value = size + functions.indexOf(env[name]);
  /** @type {ProxyHandler<any>} */
  const absent = { get: () => KNOWN };
  Object.setPrototypeOf(GOT, new Proxy({}, absent));
  take();
  absent.get = (_, name) => {
    if (typeof name === "symbol" || isInternalSym(name)) return undefined;
    const address = addressOf(exports[name], addFunction);
    if (address === undefined) return undefined;
    GOT[name] = new WebAssembly.Global({ value: "i32", mutable: true }, address);
    return GOT[name];
  };
  // With the first question the loader makes its list of addresses, of what its copy of the table
  // holds. Later it asks the table itself for what is not in the copy.
  getFunctionAddress(NAMELESS);
  mirror.fill(undefined);
}

/**
 * @param {WebAssembly.ExportValue | undefined} symbol
 * @param {(symbol: Function) => number} addFunction returns the address, which it may give first
 * @returns {number | undefined} of data its place in memory; undefined of what has no address
 */
function addressOf(symbol, addFunction) {
  if (typeof symbol === "function") return addFunction(symbol);
  return symbol instanceof WebAssembly.Global ? symbol.value : undefined;
}

/**
 * @param {any} module that was linked
 * @returns {Uint32Array} for each export, in their order: its address, if each instance has it there
 *   from the beginning, else 0
 */
export function placesIn(module) {
  const known = linked.get(module);
  if (!known) throw new Error("the module was not linked");
  const { exports, size } = known;
  return Uint32Array.from(Object.values(exports), (symbol) => {
    const address = typeof symbol === "function" ? module.getFunctionAddress(symbol) : 0;
    return address < size ? address : 0;
  });
}

/**
 * Fills the loader's copy of the table.
 * @param {object[]} mirror
 * @param {number} size
 * @param {WebAssembly.Exports} exports
 * @param {Uint32Array} places
 */
function showPlaces(mirror, size, exports, places) {
  mirror.length = size;
  mirror.fill(NAMELESS);
  Object.values(exports).forEach((symbol, index) => {
    const place = places[index];
    if (place) mirror[place] = symbol;
  });
}

/** Value types of WebAssembly, by the letters of Emscripten's signatures. */
const TYPES = new Map(
  /** @type {const} */ ([
    ["i", 0x7f],
    ["p", 0x7f],
    ["j", 0x7e],
    ["f", 0x7d],
    ["d", 0x7c],
    ["e", 0x6f],
  ]),
);

/**
 * Makes functions of WebAssembly that are functions of JavaScript.
 * @param {any[]} functions with signatures
 * @returns {Function[]}
 */
function asWasm(functions) {
  const signatures = [...new Set(functions.map(({ sig }) => String(sig)))];
  const types = signatures.map(typeOf);
  const imports = functions.map(({ sig }, index) => [
    ...[0, ...nameOf(index)],
    ...[0, ...number(signatures.indexOf(sig))],
  ]);
  const exported = functions.map((_, index) => [...nameOf(index), 0, ...number(index)]);
  const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const bytes = [...header, ...section(1, types), ...section(2, imports), ...section(7, exported)];
  const module = new WebAssembly.Module(new Uint8Array(bytes));
  const { exports } = new WebAssembly.Instance(module, { "": { ...functions } });
  return functions.map((_, index) => /** @type {Function} */ (exports[index]));
}

/**
 * @param {string} signature type of the result, "v" for none, and of each argument
 * @returns {number[]} a function type
 */
function typeOf(signature) {
  const [result, ...args] = [...signature].map((letter) => TYPES.get(/** @type {any} */ (letter)));
  const results = result === undefined ? [] : [result];
  return [0x60, ...number(args.length), .../** @type {number[]} */ (args), ...list(results)];
}

/**
 * @param {number} id
 * @param {number[][]} entries
 */
function section(id, entries) {
  const content = [...number(entries.length), ...entries.flat()];
  return [id, ...number(content.length), ...content];
}

/** @param {number} index */
const nameOf = (index) => list([...String(index)].map((digit) => digit.charCodeAt(0)));

/** @param {number[]} bytes */
const list = (bytes) => [...number(bytes.length), ...bytes];

/**
 * @param {number} value
 * @returns {number[]} in LEB128
 */
const number = (value) =>
  value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...number(value >>> 7)];
