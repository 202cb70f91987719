/**
 * The entry for one script tag: `<script src=".../pyworkers.js"></script>`.
 *
 * A classic script, so that `document.currentScript` says where the rest lies; everything else is
 * in page.mjs. `pyworkers.ready` is the connection, once all blocks have run.
 */
{
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  const loaded = new Promise((resolve) => {
    if (document.readyState !== "loading") resolve(undefined);
    else document.addEventListener("DOMContentLoaded", resolve, { once: true });
  });
  const ready = Promise.all([import(new URL("./page.mjs", script.src).href), loaded]).then(
    ([page]) => page.runBlocks(script.dataset),
  );
  ready.catch((error) => {
    console.error(error);
    const event = new CustomEvent("pyworkers:error", { bubbles: true, detail: error });
    document.dispatchEvent(event);
  });
  Object.assign(globalThis, { pyworkers: { ready } });
}
