/**
 * The wire words: frame kinds, the frame header, and the messages between a page and its hub.
 *
 * Owns the names and the checks, knows nothing of how anything travels. `pyworkers/_protocol.py`
 * is the same table in Python; a test compares the two.
 */

/** Both ends of a channel must speak the same version; a mismatch is refused by name. */
export const PROTOCOL_VERSION = 2;

/**
 * Frame header, little-endian, 24 bytes; frames start at multiples of 8:
 * u32 length (header and payload, without padding), u8 kind, u8 flags, u16 epoch,
 * u32 peer, u32 id, f64 number (see the kind).
 */
export const HEADER_BYTES = 24;

/** The largest frame. What is larger travels beside its frame as bulk parts. */
export const MAX_FRAME_BYTES = 65_536;

/** @enum {number} */
export const Kind = Object.freeze({
  SETUP: 1,
  FUNCTION: 2,
  TASK: 3,
  OBJECT: 4,
  FORGET: 5,
  CANCEL: 6,
  ENVIRONMENT: 7,
  PING: 8,
  READY: 16,
  RESULT: 17,
  ERROR: 18,
  PROGRESS: 19,
  OUTPUT: 20,
  SETUP_FAILED: 21,
  LOST: 22,
  PARKED: 23,
  RETAIN: 24,
  RELEASE: 25,
  MISSING: 26,
  PONG: 27,
  CHUNK: 31,
  POST: 32,
  REQUEST: 33,
  RESPONSE: 34,
  FAILURE: 35,
  REPORT: 36,
  WITHDRAW: 37,
});

/**
 * Fields of each message of a page conversation. `?` marks an optional field; a field may be
 * left out or undefined only then.
 * @type {Readonly<Record<string, Readonly<Record<string, string>>>>}
 */
export const MESSAGES = Object.freeze({
  // page to hub
  configure: { size: "count?", packages: "strings", modules: "object", mode: "string?" },
  run: {
    id: "id",
    target: "string",
    args: "array",
    priority: "level?",
    timeout: "number?",
    memories: "array?",
    twins: "array?",
  },
  exec: { id: "id", source: "string", filename: "string", argv: "strings?" },
  warm: { id: "id" },
  cancel: { id: "id" },
  drop: { id: "id" },
  subscribe: { event: "event" },
  unsubscribe: { event: "event" },
  answer: { id: "id", payload: "any", memories: "array?", twins: "array?" },
  refuse: {
    id: "id",
    channel: "string",
    name: "string",
    error: "string",
    message: "string",
    stack: "string",
  },
  report: { id: "id", done: "number", total: "number?", message: "string" },
  // both ways
  post: {
    channel: "string",
    name: "string",
    payload: "any",
    time: "number",
    memories: "array?",
    twins: "array?",
  },
  request: {
    id: "id",
    channel: "string",
    name: "string",
    payload: "any",
    time: "number",
    memories: "array?",
    twins: "array?",
  },
  // hub to page
  withdraw: { id: "id" },
  assets: { assets: "object" },
  ready: { mode: "string", reason: "string", arena: "object?", bell: "object?" },
  result: { id: "id", value: "any", memories: "array?", twins: "array?" },
  error: { id: "id", name: "string", message: "string", pythonTraceback: "string" },
  progress: { id: "id", done: "number", total: "number?", message: "string" },
  output: { id: "id?", stream: "string", text: "string" },
  event: { event: "object" },
  // page to page, by way of the introducer
  join: { lock: "string", port: "object" },
  ended: { name: "string", message: "string" },
  welcome: { lock: "string" },
  keep: {},
  company: { tabs: "count" },
  lost: {},
  admit: { lock: "string", port: "object" },
  // hub to broker
  spawn: {
    peer: "id",
    name: "string",
    channel: "object",
    archive: "object",
    fork: "id?",
    setup: "object?",
  },
  terminate: { peer: "id" },
  retire: { peer: "id" },
  // broker to hub
  died: { peer: "id", reason: "string" },
});

/** What a pool tells who subscribes to it. */
export const EVENTS = Object.freeze(
  /** @type {const} */ ([
    "task_started",
    "task_progress",
    "task_retried",
    "task_done",
    "worker_ready",
    "worker_lost",
  ]),
);

/** @type {Readonly<Record<string, (value: unknown) => boolean>>} */
const CHECKS = Object.freeze({
  any: () => true,
  string: (v) => typeof v === "string",
  number: (v) => typeof v === "number" && Number.isFinite(v),
  id: (v) => Number.isInteger(v) && /** @type {number} */ (v) >= 0,
  count: (v) => Number.isInteger(v) && /** @type {number} */ (v) >= 0,
  level: (v) => typeof v === "string" || (Number.isInteger(v) && /** @type {number} */ (v) >= 0),
  event: (v) => EVENTS.includes(/** @type {any} */ (v)),
  array: (v) => Array.isArray(v),
  object: (v) => typeof v === "object" && v !== null,
  strings: (v) => Array.isArray(v) && v.every((item) => typeof item === "string"),
});

/** A message that is not in the table, or does not match it. */
export class ProtocolError extends Error {
  name = "ProtocolError";
}

/**
 * Checks a received message against the table.
 * @param {unknown} message what arrived
 * @param {readonly string[]} kinds the kinds that are legal here
 * @returns {any} the same message
 * @throws {ProtocolError} naming the kind and the field
 */
export function checked(message, kinds) {
  const kind = /** @type {any} */ (message)?.kind;
  if (typeof kind !== "string" || !kinds.includes(kind)) {
    throw new ProtocolError(
      `unknown message kind ${typeof kind === "string" ? `"${kind}"` : typeof kind}; legal here: ${kinds}`,
    );
  }
  const fields = /** @type {Record<string, string>} */ (MESSAGES[kind]);
  for (const [field, type] of Object.entries(fields)) {
    const value = /** @type {any} */ (message)[field];
    const optional = type.endsWith("?");
    if (optional && value === undefined) continue;
    const name = optional ? type.slice(0, -1) : type;
    if (!CHECKS[name]?.(value)) {
      throw new ProtocolError(`message ${kind}: field ${field} must be ${name}`);
    }
  }
  for (const field of Object.keys(/** @type {object} */ (message))) {
    if (field !== "kind" && !Object.hasOwn(fields, field)) {
      throw new ProtocolError(`message ${kind}: unknown field ${field}`);
    }
  }
  return message;
}
