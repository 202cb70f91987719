/**
 * A page's side of the site's service worker: asks it to keep the page for offline use, or to isolate
 * it where the host does not.
 *
 * Owns the registration, and the one reload that isolation takes. What the worker does stands in
 * service_worker.js. A page works without all this; so what goes wrong is a warning.
 */

import { warn } from "./assets.mjs";

/** In the session's storage, by page: it was reloaded to become isolated. */
const RELOADED = "pyworkers-reloaded";

/** So long a page waits for a service worker before it goes on without. */
const PATIENCE_MS = 10_000;

/**
 * @param {string} url of service_worker.js
 * @returns {Promise<ServiceWorker>} once it is active
 */
async function registered(url) {
  if (!navigator.serviceWorker) {
    throw new Error("there are no service workers here: the page is insecure, or they are off");
  }
  const registration = await navigator.serviceWorker.register(url);
  if (!location.href.startsWith(registration.scope)) {
    await registration.unregister();
    throw new Error(`the page does not lie below ${registration.scope}, the folder of the site`);
  }
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  if (!worker) throw new Error("its service worker ended");
  if (worker.state === "activated") return worker;
  return new Promise((resolve, reject) => {
    worker.addEventListener("statechange", () => {
      if (worker.state === "activated") resolve(worker);
      else if (worker.state === "redundant") {
        // Of a new build that could not be kept; there may be an earlier one.
        if (registration.active) resolve(registration.active);
        else reject(new Error("its service worker could not be installed"));
      }
    });
  });
}

/**
 * @param {ServiceWorker} worker
 * @param {object} request
 * @returns {Promise<any>} what the page had asked for before, when it has done that
 */
async function ask(worker, request) {
  const { port1, port2 } = new MessageChannel();
  const { earlier, error } = await new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve(data);
    worker.postMessage(request, [port2]);
  });
  port1.close();
  if (error) throw new Error(error);
  return earlier;
}

/**
 * Takes back what a page has asked for earlier.
 * @param {string} url
 * @param {object} request
 * @returns {Promise<any>} what that was
 */
async function takeBack(url, request) {
  const folder = new URL(".", url).href;
  const registration = await navigator.serviceWorker?.getRegistration(folder);
  // Not that of another site further up.
  const worker = registration?.scope === folder ? registration.active : null;
  return worker ? ask(worker, request) : {};
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
function inTime(promise) {
  const late = new Promise((_, reject) => {
    const error = new Error(`no service worker was ready after ${PATIENCE_MS / 1000} s`);
    setTimeout(() => reject(error), PATIENCE_MS);
  });
  return Promise.race([promise, late]);
}

/**
 * Isolates the page, by one reload; or has it isolated no more, by one too: its workers would be
 * refused.
 * @param {string} url of service_worker.js
 * @param {boolean | "require-corp" | "credentialless"} policy true: require-corp; false: no more
 * @returns {Promise<void>} when the page can go on, isolated or not; never if it is reloaded
 */
export async function isolate(url, policy) {
  try {
    if (!policy) {
      const earlier = await inTime(takeBack(url, { isolate: false }));
      if (!earlier.isolate || !globalThis.crossOriginIsolated) return;
      return await reload("no longer isolates this page");
    }
    const key = `${RELOADED} ${location.pathname}`;
    // Where nothing can be remembered this throws, and nothing is reloaded.
    const reloaded = sessionStorage.getItem(key);
    if (globalThis.crossOriginIsolated) return sessionStorage.removeItem(key);
    if (reloaded) throw new Error("a reload did not help; its own headers may forbid it");
    const asked = policy === true ? "require-corp" : policy;
    await inTime(registered(url).then((worker) => ask(worker, { isolate: asked })));
    sessionStorage.setItem(key, "yes");
    await reload("isolates this page");
  } catch (error) {
    warn("the page is not isolated by a service worker", error);
  }
}

/**
 * @param {string} what the service worker does
 * @returns {Promise<void>} never settles
 */
function reload(what) {
  console.info(`pyworkers: a service worker ${what}, which is reloaded for that`);
  location.reload();
  return new Promise(() => {});
}

/**
 * Has the page, what it has loaded and the whole site kept, so that it starts without a network.
 * @param {string} url of service_worker.js
 * @param {boolean} wanted false: no more
 * @returns {Promise<void>} when all is kept
 */
export async function keepOffline(url, wanted) {
  try {
    if (!wanted) {
      await takeBack(url, { offline: false });
      return;
    }
    const resources = performance.getEntriesByType("resource").map(({ name }) => name);
    const own = resources.filter((name) => name.startsWith(`${location.origin}/`));
    await ask(await registered(url), { offline: true, resources: [...new Set(own)] });
    console.info("pyworkers: this page now works offline");
  } catch (error) {
    warn("the page will not work offline", error);
  }
}
