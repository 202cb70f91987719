/**
 * The introducer: a SharedWorker in which the tabs that share a hub meet.
 *
 * Owns who takes part, and who of them keeps the hub: the eldest. A SharedWorker can have no workers
 * and no shared memory, so a page has to. Knows nothing of what is said: each tab sends a port, which
 * goes on to the hub, and from then on the two talk without anybody between them.
 *
 * A tab takes part for as long as it holds a Web Lock, whatever ends it. There is one introducer for
 * each site, build and set of options, by its name. It lives in a process with some tab, and may die
 * with that: so it holds a lock itself, for which the tabs wait. Whatever is lost here is lost for all,
 * and they meet anew.
 */

import { checked } from "./protocol.mjs";

/**
 * @typedef {object} Member
 * @property {MessagePort} port to the tab
 * @property {boolean} isIntroduced whether its line was given to who keeps the hub
 */

/** The tabs by their locks, in the order in which they came. @type {Map<string, Member>} */
const members = new Map();

/** The lock of the one that keeps the hub. @type {string | undefined} */
let keeper;

const own = `pyworkers introducer ${crypto.randomUUID()}`;

/** @type {Promise<void>} */
const begun = new Promise((resolve) => {
  navigator.locks.request(own, () => {
    resolve();
    return new Promise(() => {});
  });
});

/**
 * @param {MessagePort} port of the tab
 * @param {any} message "join"
 */
function join(port, { lock, port: line }) {
  let member = members.get(lock);
  if (!member) {
    member = { port, isIntroduced: false };
    members.set(lock, member);
    navigator.locks.request(lock, () => leave(lock));
    begun.then(() => port.postMessage({ kind: "welcome", lock: own }));
    elect();
  }
  member.isIntroduced = true;
  toKeeper({ kind: "admit", lock, port: line }, [line]);
  toKeeper({ kind: "company", tabs: members.size });
}

/**
 * @param {object} message
 * @param {Transferable[]} [transfer]
 */
function toKeeper(message, transfer = []) {
  members.get(keeper ?? "")?.port.postMessage(message, transfer);
}

function elect() {
  if (keeper !== undefined || members.size === 0) return;
  [keeper] = members.keys();
  toKeeper({ kind: "keep" });
}

/** @param {string} lock that nobody holds any more */
function leave(lock) {
  if (!members.delete(lock)) return;
  if (lock !== keeper) {
    toKeeper({ kind: "company", tabs: members.size });
    return;
  }
  keeper = undefined;
  elect();
  for (const member of members.values()) {
    // Others have sent a line that is still to come.
    if (member.isIntroduced) member.port.postMessage({ kind: "lost" });
    member.isIntroduced = false;
  }
}

/**
 * @param {MessagePort} port
 * @param {any} message "ended"
 */
function end(port, message) {
  if (members.get(keeper ?? "")?.port !== port) return;
  const told = [...members.values()];
  members.clear();
  keeper = undefined;
  for (const member of told) member.port.postMessage(message);
}

Object.assign(globalThis, {
  onconnect: (/** @type {MessageEvent} */ { ports: [port] }) => {
    if (!port) return;
    port.onmessage = ({ data }) => {
      const message = checked(data, ["join", "ended"]);
      if (message.kind === "join") join(port, message);
      else end(port, message);
    };
  },
});
