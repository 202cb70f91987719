/**
 * A hub's end of a conversation with a page.
 *
 * Owns how messages come to Python and go from there. Knows nothing of what they ask for: that is
 * `pyworkers/_page.py`.
 */

import { named, received } from "./lending.mjs";
import { checked } from "./protocol.mjs";

/** What any page may say. */
export const FROM_TAB = Object.freeze([
  "run",
  "exec",
  "warm",
  "cancel",
  "drop",
  "subscribe",
  "unsubscribe",
  "post",
  "request",
  "answer",
  "refuse",
  "report",
]);

/** What the page may say that has the hub on a thread of its own. */
export const FROM_KEEPER = Object.freeze(["configure", "admit", ...FROM_TAB]);

/**
 * @param {MessagePort} port to the page
 * @param {readonly string[]} legal what it may say
 * @param {(toPage: any, reply: any) => any} open returns Python's end
 * @param {(error: unknown) => boolean} isFatal whether an error was the interpreter's end
 * @param {(message: any, page: any) => void} admit acts on that message
 * @returns {{end: () => void}}
 */
export function converse(port, legal, open, isFatal, admit) {
  /** @type {import("./ring_link.mjs").RingLink | undefined} where memory is shared with the page */
  let link;
  const reply = (
    /** @type {number} */ id,
    /** @type {any} */ value,
    /** @type {any[]} */ transfer = [],
  ) => {
    port.postMessage({ kind: "result", id, value, ...named(value, link?.memories) }, transfer);
  };
  const toPage = {
    /** @param {any} message @param {any[]} [transfer] */
    postMessage(message, transfer = []) {
      const beside = "payload" in message ? named(message.payload, link?.memories) : {};
      port.postMessage({ ...message, ...beside }, transfer);
    },
  };
  const page = open(toPage, reply);
  const { run, serve } = page;
  port.onmessage = (/** @type {MessageEvent} */ { data }) => {
    try {
      const message = checked(data, legal);
      if (message.kind === "configure") link = serve(message);
      else if (message.kind === "admit") admit(message, page);
      else if ("payload" in message) {
        serve({ ...message, payload: received(message.payload, message, link?.arena) });
      } else if (message.kind !== "run") serve(message);
      else {
        const { id, target, args, priority, timeout } = message;
        run(id, target, received(args, message, link?.arena), priority, timeout);
      }
    } catch (error) {
      if (isFatal(error)) return;
      const { name, message } = /** @type {Error} */ (error);
      const id = Number.isInteger(data?.id) && data.id >= 0 ? data.id : 0;
      port.postMessage({ kind: "error", id, name, message, pythonTraceback: "" });
    }
  };
  return {
    end: () => {
      port.close();
      page.leave();
      for (const proxy of [run, serve, page]) proxy.destroy();
    },
  };
}
