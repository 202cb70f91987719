/**
 * Offers `snapshot.mjs` to `test_snapshot.py`; bytes travel as base64.
 */

import * as snapshot from "../../js_shim/snapshot.mjs";
import { answer } from "./json_lines.mjs";

const PAGE = 65_536;

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const text = (data) => Buffer.from(data).toString("base64");

/** An Emscripten module with some memory, which it may not be able to grow. */
function moduleWith(memory, limit) {
  const module = {
    HEAPU8: memory,
    growMemory(length) {
      if (length > limit) return undefined;
      const grown = new Uint8Array(Math.ceil(length / PAGE) * PAGE);
      grown.set(module.HEAPU8);
      module.HEAPU8 = grown;
      return 1;
    },
  };
  return module;
}

async function* inPieces(data, size) {
  for (let start = 0; start < data.length; start += size) yield data.subarray(start, start + size);
}

answer({
  checksum: ({ data }) => snapshot.checksum(bytes(data)),
  pack: ({ raw, fresh, buildId, archive, places }) => {
    const parts = [bytes(raw), new Set(fresh), buildId, bytes(archive)];
    return text(snapshot.packSnapshot(...parts, Uint32Array.from(places)));
  },
  places: ({ data }) => [...snapshot.snapshotPlaces(bytes(data))],
  usedPages: ({ memory }) => [...snapshot.usedPages(bytes(memory))],
  collect: async ({ data, size }) => {
    const allocate = (length) => new Uint8Array(new SharedArrayBuffer(length));
    return text(await snapshot.collectSnapshot(inPieces(bytes(data), size), allocate));
  },
  verify: ({ data }) => {
    snapshot.verifySnapshot(bytes(data));
  },
  match: ({ data, buildId, archive }) => {
    snapshot.matchSnapshot(bytes(data), buildId, bytes(archive));
  },
  pyodideHeader: ({ data }) => text(snapshot.pyodideHeader(bytes(data))),
  restore: ({ data, memory, limit }) => {
    const module = moduleWith(bytes(memory), limit);
    snapshot.restoreSnapshot(bytes(data), module);
    return text(module.HEAPU8);
  },
});
