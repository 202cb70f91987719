/**
 * Offers `protocol.mjs` to `test_protocol.py`.
 */

import * as protocol from "../../js_shim/protocol.mjs";
import { answer } from "./json_lines.mjs";

/** Values that a structured clone can hold and JSON cannot, by the name that stands for them. */
const SPECIAL = {
  undefined: () => undefined,
  nan: () => Number.NaN,
  infinity: () => Number.POSITIVE_INFINITY,
  bigint: () => 1n,
  buffer: () => new Uint8Array(3),
  cycle: () => {
    const cycle = {};
    cycle.self = cycle;
    return cycle;
  },
};

/**
 * @param {any} value as JSON; `{"$special": name}` stands for one that JSON has not
 * @returns {any} the value that is meant
 */
function meant(value) {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(meant);
  if (Object.hasOwn(value, "$special")) return SPECIAL[value.$special]();
  // As in a structured clone, each field is the object's own, whatever its name.
  const copy = Object.create(Object.prototype);
  for (const [name, item] of Object.entries(value)) {
    Object.defineProperty(copy, name, { value: meant(item), enumerable: true });
  }
  return copy;
}

answer({
  table: () => ({
    version: protocol.PROTOCOL_VERSION,
    headerBytes: protocol.HEADER_BYTES,
    maxFrameBytes: protocol.MAX_FRAME_BYTES,
    kinds: protocol.Kind,
    messages: protocol.MESSAGES,
    events: protocol.EVENTS,
  }),
  checked: ({ message, kinds }) => {
    const value = meant(message);
    if (protocol.checked(value, kinds) !== value) throw new Error("it is another message");
  },
});
