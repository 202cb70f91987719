/**
 * A page that wants results from two workers, from pyworkers (`?by=pyworkers`) or from two plain
 * Pyodides, and notes when each is there.
 */

/** @returns {Promise<Promise<unknown>[]>} the first results of both workers */
async function pyworkers() {
  const { connect } = await import("../page.mjs");
  const py = await connect({ size: 2, modules: ["held.py"] });
  return [1, 2].map(
    () =>
      new Promise((onProgress, reject) => {
        py.run("held:check_in", [], { onProgress }).catch(reject);
      }),
  );
}

/** @returns {Promise<Promise<unknown>[]>} the first results of both workers */
async function plain() {
  return [1, 2].map(
    () =>
      new Promise((resolve, reject) => {
        const worker = new Worker("./plain.mjs", { type: "module" });
        worker.onmessage = resolve;
        worker.onerror = ({ message }) => reject(new Error(message));
      }),
  );
}

const by = new URLSearchParams(location.search).get("by");
const answers = await (by === "pyworkers" ? pyworkers() : plain());
const times = answers.map((answer) => answer.then(() => performance.now()));
Object.assign(globalThis, {
  /** Seconds from the opening of the page to the first result of the first and of the last. */
  ask: async () => {
    const [one, other] = await Promise.all(times);
    return { first: Math.min(one, other) / 1000, both: Math.max(one, other) / 1000 };
  },
});
