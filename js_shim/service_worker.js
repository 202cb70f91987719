/**
 * The service worker of a site: for pages that ask for it, it answers when the network does not, and
 * adds the headers that isolate a page where the host cannot.
 *
 * Owns what is kept for that, all of it in caches whose names begin with PREFIX; a site has one build
 * and any number of pages. It asks the network first, and takes from its caches first only what is
 * named by its content. What did not ask gets the answers of the network as they are. Knows nothing of
 * Python; service.mjs is its other side, on the page. A classic script: not every browser runs modules
 * here.
 */

/**
 * Filled in by `pyworkers build`: what the build consists of, and a hash of that. So the browser finds
 * another script, and starts it, when there is another build.
 * @type {{id: string, files: string[]}}
 */
const BUILD = { id: "", files: [] };

/** The global scope; its types are not among those of pages. @type {any} */
const scope = globalThis;

/** Several sites may share an origin, and its caches. */
const PREFIX = `pyworkers ${scope.registration.scope} `;
/** The files of this build, all of them or none. */
const FILES = `${PREFIX}build ${BUILD.id}`;
/** What each page asked for, by its URL: PageOptions as JSON. */
const PAGES = `${PREFIX}pages`;
/** Pages that asked to work offline, and what they fetch. */
const CONTENT = `${PREFIX}content`;

const files = new Set(BUILD.files.map((file) => new URL(file, scope.location.href).href));

/** As in pyworkers/cli/serve.py: the name changes with the content. */
const NAMED_BY_CONTENT = /(?:^|[.-])[0-9a-fA-F]{16,}(?=[.-]|$)/;

const POLICY = "cross-origin-embedder-policy";
const OPENER = "cross-origin-opener-policy";

/**
 * @typedef {object} PageOptions
 * @property {boolean} [offline]
 * @property {string | false} [isolate] the embedder policy
 */

/** @param {string} url */
function pageOf(url) {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

/**
 * @param {string} url
 * @returns {Promise<PageOptions>}
 */
async function optionsOf(url) {
  const found = await (await caches.open(PAGES)).match(pageOf(url));
  return found ? found.json() : {};
}

/** @returns {Promise<PageOptions>} what at least one page asked for */
async function optionsOfAny() {
  const pages = await (await caches.open(PAGES)).keys();
  const all = await Promise.all(pages.map(({ url }) => optionsOf(url)));
  return {
    offline: all.some(({ offline }) => offline),
    isolate: all.find(({ isolate }) => isolate)?.isolate ?? false,
  };
}

/**
 * @param {any} event
 * @returns {Promise<PageOptions>}
 */
async function optionsFor({ request, clientId }) {
  if (request.mode === "navigate") return optionsOf(request.url);
  const client = await scope.clients.get(clientId);
  // Whose worker it is that asks, nobody tells.
  return client?.type === "window" ? optionsOf(client.url) : optionsOfAny();
}

/**
 * @param {Request} request
 * @returns {Promise<Response | undefined>}
 */
async function kept(request) {
  const how = { ignoreVary: true, ignoreSearch: request.mode === "navigate" };
  for (const name of [FILES, CONTENT]) {
    const found = await (await caches.open(name)).match(request, how);
    if (found) return found;
  }
  return undefined;
}

/**
 * @param {Request} request
 * @param {Response} response
 */
const isWorthKeeping = ({ url }, response) =>
  response.ok &&
  !response.redirected &&
  !files.has(url) &&
  !new URL(url).search &&
  !/no-store/.test(response.headers.get("cache-control") ?? "");

/**
 * Answers a request of a page that is to work offline.
 * @param {any} event
 * @returns {Promise<Response>}
 */
async function keptOrFetched(event) {
  const { request } = event;
  const [name] = new URL(request.url).pathname.split("/").slice(-1);
  if (NAMED_BY_CONTENT.test(/** @type {string} */ (name))) {
    const found = await kept(request);
    if (found) return found;
  }
  let response;
  try {
    response = await fetch(request);
  } catch (error) {
    const found = await kept(request);
    if (found) return found;
    throw error;
  }
  if (isWorthKeeping(request, response)) {
    const copy = response.clone();
    const keep = async () => (await caches.open(CONTENT)).put(request, copy);
    event.waitUntil(keep().catch((error) => warn(`${request.url} is not kept`, error)));
  }
  return response;
}

/**
 * @param {Response} response of a page or of a worker's script
 * @param {string} policy
 * @returns {Response} isolated, unless it says itself what it wants to be
 */
function isolated(response, policy) {
  const { status, statusText, headers, body, type } = response;
  if (type === "opaqueredirect" || headers.has(POLICY) || headers.has(OPENER)) return response;
  const more = new Headers(headers);
  more.set(OPENER, "same-origin");
  more.set(POLICY, policy);
  return new Response(body, { status, statusText, headers: more });
}

/**
 * @param {any} event
 * @returns {Promise<Response>}
 */
async function answer(event) {
  const { request } = event;
  /** @type {PageOptions} */
  const none = {};
  // Where the storage is denied or broken, it is as if nobody had asked for anything.
  const { offline, isolate } = await optionsFor(event).catch(() => none);
  const response = offline ? await keptOrFetched(event) : await fetch(request);
  // A worker of an isolated page must be isolated too, or it is refused.
  const starts = request.mode === "navigate" || request.destination === "worker";
  return isolate && starts ? isolated(response, isolate) : response;
}

/**
 * @param {string} what
 * @param {unknown} error
 */
const warn = (what, error) =>
  console.warn(`pyworkers: ${what}: ${/** @type {Error} */ (error).message}`);

/** Fetches the whole build, unless it is there. */
async function keepFiles() {
  const cache = await caches.open(FILES);
  if ((await cache.keys()).length === files.size) return;
  try {
    // Never from the browser's cache without asking, which may hold files of an earlier build.
    await cache.addAll([...files].map((url) => new Request(url, { cache: "no-cache" })));
  } catch (error) {
    await caches.delete(FILES);
    throw error;
  }
}

/**
 * Fetches what was loaded before this worker could see it.
 * @param {string} page
 * @param {string[]} resources of it
 */
async function keepContent(page, resources) {
  const cache = await caches.open(CONTENT);
  await Promise.all(
    [page, ...resources].map(async (url) => {
      if (files.has(url)) return;
      const request = new Request(url);
      if (await cache.match(request, { ignoreVary: true })) return;
      // What is missing now was missing before, too.
      const response = await fetch(request).catch(() => undefined);
      if (response && isWorthKeeping(request, response)) await cache.put(request, response);
    }),
  );
  const found = await cache.match(page, { ignoreVary: true });
  if (!found) throw new Error("its server redirects, or forbids to store it");
}

/**
 * Does what a page asks for; what it does not mention stays as it is.
 * @param {{url: string}} page
 * @param {PageOptions & {resources?: string[]}} request
 * @returns {Promise<PageOptions>} what it had asked for before
 */
async function configure({ url }, { resources = [], ...wanted }) {
  const cache = await caches.open(PAGES);
  const earlier = await optionsOf(url);
  const options = { ...earlier, ...wanted };
  if (options.offline || options.isolate) await cache.put(pageOf(url), Response.json(options));
  else await cache.delete(pageOf(url));
  if (!(await cache.keys()).length) {
    for (const name of await ours()) await caches.delete(name);
    await scope.registration.unregister();
  } else if (wanted.offline) {
    await keepFiles();
    await keepContent(pageOf(url), resources);
  }
  return earlier;
}

/** @returns {Promise<string[]>} the names of this site's caches */
const ours = async () => (await caches.keys()).filter((name) => name.startsWith(PREFIX));

async function install() {
  const { offline } = await optionsOfAny();
  if (offline) await keepFiles();
  // Nothing is lost by the change: what is open asks the network, too.
  await scope.skipWaiting();
}

async function activate() {
  for (const name of await ours()) {
    if (name.startsWith(`${PREFIX}build `) && name !== FILES) await caches.delete(name);
  }
  await scope.clients.claim();
}

scope.oninstall = (/** @type {any} */ event) => event.waitUntil(install());
scope.onactivate = (/** @type {any} */ event) => event.waitUntil(activate());
scope.onmessage = (/** @type {any} */ event) => {
  const [port] = event.ports;
  const done = configure(event.source, event.data).then(
    (earlier) => port.postMessage({ earlier }),
    (error) => port.postMessage({ error: String(error) }),
  );
  event.waitUntil(done);
};
scope.onfetch = (/** @type {any} */ event) => {
  const { method, headers, mode, url } = event.request;
  const foreign = new URL(url).origin !== scope.location.origin;
  if (method !== "GET" || headers.has("range") || (foreign && mode !== "cors")) return;
  event.respondWith(answer(event));
};
