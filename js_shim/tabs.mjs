/**
 * A page's part in a hub that the tabs of its origin share.
 *
 * Owns the page's membership, and the hub, if it is this page that keeps it. Whatever happens, there is
 * always a port: what is sent before a hub is there waits in it. When a hub is lost, its line is
 * replaced by another one, and the connection settles what was under way. Who takes part, and who
 * keeps the hub, is decided in `tabs_worker.mjs`.
 *
 * A page takes part until it is closed, left, or put aside by the browser, even if that keeps it to come
 * back to. One that the browser freezes passes the hub on, if there are other tabs.
 */

import { checked } from "./protocol.mjs";

/** So long an introducer has to answer; it may have died, and its name not be free yet. */
const PATIENCE_MS = 10_000;

/** So many introducers are tried in a row. */
const TRIES = 3;

const FROM_INTRODUCER = ["welcome", "keep", "company", "lost", "admit", "ended"];

/** @typedef {import("./connection.mjs").Connection} Connection */
/** @typedef {import("./hub_thread.mjs").Line} Line */

/**
 * A hub that this page keeps.
 * @typedef {object} Kept
 * @property {Connection} connection
 * @property {Promise<void>} ready
 */

/** @implements {Line} */
export class Tab {
  isCommon = true;
  /** @type {(reason: string, name?: string) => void} */
  onended = () => {};
  onrenewed = () => {};
  #line = new MessageChannel();
  #scriptURL;
  #name;
  #keep;
  #over = new AbortController();
  /** @type {SharedWorker | undefined} there is one while this page takes part */
  #introducer;
  /** Ends what was begun with the introducer. */
  #meeting = new AbortController();
  #lock = "";
  /** Gives up the lock that says that this page takes part. */
  #release = () => {};
  /** @type {Kept | undefined} */
  #kept;
  #tabs = 1;
  #tries = 0;
  /** @type {(error?: Error) => void} */
  #entered = () => {};

  /**
   * @param {string} scriptURL of tabs_worker.mjs, on the origin of the page
   * @param {string} name what all have in common who share a hub
   * @param {() => Kept} keep starts a hub in this page
   */
  constructor(scriptURL, name, keep) {
    this.#scriptURL = scriptURL;
    this.#name = name;
    this.#keep = keep;
  }

  get port() {
    return this.#line.port1;
  }

  loaded() {}

  /**
   * Begins to take part.
   * @returns {Promise<void>} when an introducer has answered
   * @throws {Error} none did, or there can be none here
   */
  async enter() {
    if (!globalThis.SharedWorker) throw new Error("there is no SharedWorker here");
    if (!navigator.locks) throw new Error("there are no Web Locks here: the page is insecure");
    const { signal } = this.#over;
    const back = () => !this.#introducer && this.#meet();
    const freeze = () => this.#kept && this.#tabs > 1 && this.#leave();
    const hide = (/** @type {PageTransitionEvent} */ { persisted }) =>
      persisted ? this.#leave() : this.#part();
    addEventListener("pagehide", hide, { signal });
    addEventListener("pageshow", back, { signal });
    document.addEventListener("freeze", freeze, { signal });
    document.addEventListener("resume", back, { signal });
    await new Promise((resolve, reject) => {
      this.#entered = (error) => (error ? reject(error) : resolve(undefined));
      this.#meet();
    });
  }

  /** Takes part no more; a hub that this page keeps ends with that. */
  close() {
    this.#over.abort();
    this.#part();
    this.port.close();
  }

  async #meet() {
    const lock = `pyworkers tab ${crypto.randomUUID()}`;
    const meeting = new AbortController();
    this.#meeting = meeting;
    try {
      const introducer = new SharedWorker(this.#scriptURL, { type: "module", name: this.#name });
      this.#introducer = introducer;
      await new Promise((resolve, reject) => {
        const stay = new Promise((release) => {
          this.#release = () => release(undefined);
        });
        const held = () => {
          resolve(undefined);
          return stay;
        };
        navigator.locks.request(lock, held).catch(reject);
      });
      if (meeting.signal.aborted) return;
      this.#lock = lock;
      const late = setTimeout(() => this.#retry(), PATIENCE_MS);
      meeting.signal.addEventListener("abort", () => clearTimeout(late));
      introducer.onerror = () => this.#fail(new Error(`${this.#scriptURL} did not load`));
      introducer.port.onmessage = ({ data }) => {
        if (meeting.signal.aborted) return;
        const message = checked(data, FROM_INTRODUCER);
        if (message.kind === "welcome") clearTimeout(late);
        this.#heard(message);
      };
      this.#join();
    } catch (error) {
      this.#fail(/** @type {Error} */ (error));
    }
  }

  /** @param {any} message */
  #heard(message) {
    if (message.kind === "welcome") {
      this.#tries = 0;
      this.#entered();
      const { signal } = this.#meeting;
      const gone = () => signal.aborted || this.#leave(true);
      navigator.locks.request(message.lock, { signal }, gone).catch(() => {});
    } else if (message.kind === "keep") this.#begin();
    else if (message.kind === "company") this.#tabs = message.tabs;
    else if (message.kind === "lost") {
      this.#renew();
      this.#join();
    } else if (message.kind === "admit") {
      const { lock, port } = message;
      const kept = this.#kept;
      kept?.ready.then(() => kept.connection.admit(port, lock)).catch(() => {});
    } else this.onended(message.message, message.name);
  }

  #join() {
    const { port2 } = this.#line;
    const message = { kind: "join", lock: this.#lock, port: port2 };
    this.#introducer?.port.postMessage(message, [port2]);
  }

  /** Keeps the hub from now on. */
  #begin() {
    const kept = this.#keep();
    this.#kept = kept;
    const failed = (/** @type {Error} */ { name, message }) => {
      if (this.#kept !== kept) return;
      this.#kept = undefined;
      kept.connection.close();
      this.#introducer?.port.postMessage({ kind: "ended", name, message });
    };
    kept.ready.catch(failed);
    kept.connection.closed.then(failed);
  }

  /** The line leads nowhere any more: there is another one. */
  #renew() {
    this.port.close();
    this.#line = new MessageChannel();
    this.onrenewed();
  }

  /** Takes part no more, for now. @param {boolean} [again] at once */
  #leave(again = false) {
    this.#part();
    this.#renew();
    if (again) this.#meet();
  }

  #part() {
    this.#meeting.abort();
    this.#release();
    this.#introducer?.port.close();
    this.#introducer = undefined;
    const kept = this.#kept;
    this.#kept = undefined;
    kept?.connection.close();
  }

  #retry() {
    if (++this.#tries === TRIES) {
      this.#fail(new Error("the SharedWorker in which tabs meet does not answer"));
      return;
    }
    this.#leave(true);
  }

  /** @param {Error} error that keeps this page from meeting others */
  #fail(error) {
    this.close();
    this.#entered(error);
    this.onended(error.message);
  }
}
