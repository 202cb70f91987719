/**
 * A guard whose holder has a seat and does not run: `node held_guard.mjs SEED`; nothing here is
 * random. Prints, as JSON, what becomes of who wants it: while that holder has its seat, from a
 * thread that may block and from one that must not, and when it has lost it.
 */

import { Arena, arenaMemory, BROKER, HUB, PAGE } from "../../js_shim/arena.mjs";
import { RWLock } from "../../js_shim/rwlocks.mjs";
import { Guard } from "../../js_shim/slots.mjs";

const HOLDER = 7;
const SIZE = 48 + 1024;
/** The word of a read-write lock where its guard is, as `rwlocks.mjs` lists it. */
const GUARD = 4;

Guard.patience = 20;

const memory = arenaMemory();
const hub = new Arena(memory, HUB, true);
const offset = hub.allocate(SIZE, HUB);
hub.bytes(offset, SIZE).fill(0);
new Arena(memory, HOLDER, true).sit();
new Int32Array(memory.buffer)[offset / 4 + GUARD] = HOLDER + 1;

/** @param {Arena} arena */
function tried(arena) {
  try {
    return new RWLock(arena, offset, undefined).reading.attempt(0);
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}

const blocking = tried(hub);
const page = tried(new Arena(memory, PAGE, false));
new Arena(memory, BROKER, false).sweep(HOLDER);
console.log(JSON.stringify({ blocking, page, swept: tried(hub) }));
