/**
 * The primitives that Python finds in shared memory, by name.
 *
 * Owns nothing but their names.
 */

import { Barrier, Latch, Once } from "./barriers.mjs";
import { Condition } from "./conditions.mjs";
import { Counter32, Counter64, Progress } from "./counters.mjs";
import { Flag, Lock, RLock, Semaphore } from "./locks.mjs";
import { Consumer, Joiner, Onlooker, Producer } from "./queues.mjs";
import { RWLock } from "./rwlocks.mjs";

export const PRIMITIVES = Object.freeze({
  Lock,
  RLock,
  Semaphore,
  Flag,
  SharedFlag: Flag,
  Counter32,
  Counter64,
  Progress,
  Condition,
  Barrier,
  Latch,
  Once,
  RWLock,
  Queue: Consumer,
  Producer,
  Onlooker,
  Joiner,
});

/**
 * @param {import("./ring_link.mjs").RingLink} link of this thread
 * @param {keyof typeof PRIMITIVES} kind
 * @param {number} offset of it in the arena
 */
export function primitive(link, kind, offset) {
  return new PRIMITIVES[kind](link.arena, offset, link.hubBell(), link.heap);
}
