/**
 * The primitives that Python finds in shared memory, by name.
 *
 * Owns nothing but their names.
 */

import { Flag, Lock, Semaphore } from "./locks.mjs";
import { Consumer, Joiner, Onlooker, Producer } from "./queues.mjs";

const PRIMITIVES = Object.freeze({
  Lock,
  RLock: Lock,
  Semaphore,
  Flag,
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
