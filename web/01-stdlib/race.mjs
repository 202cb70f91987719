/**
 * The same work on some number of workers: how far it is, how long it takes, who did how much.
 */

/**
 * @param {string} id of a template with one element
 * @returns {HTMLElement} a copy of it
 */
function copyOf(id) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById(id));
  const fragment = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  return /** @type {HTMLElement} */ (fragment.firstElementChild);
}

/** One timed run, from its creation to `finish`. */
export class Race {
  done = 0;
  seconds = 0;
  /** Seconds that the workers spent in tasks, together. */
  busy = 0;
  #started = performance.now();
  #over = false;
  /** @type {Map<number, {done: number, seconds: number}>} what each interpreter did */
  #shares = new Map();

  /**
   * @param {HTMLElement} parent of the card that shows this
   * @param {string} title
   * @param {number} workers
   * @param {number} total how many modules there are
   */
  constructor(parent, title, workers, total) {
    this.workers = workers;
    this.total = total;
    const card = copyOf("race");
    const part = (/** @type {string} */ name) => /** @type {any} */ (card.querySelector(name));
    part("h2").textContent = title;
    this.time = part(".time");
    this.bar = part("progress");
    this.bar.max = total;
    this.bar.setAttribute("aria-label", `modules measured on ${title}`);
    this.rows = Array.from({ length: workers }, (_, i) => {
      const row = copyOf("worker");
      const cell = (/** @type {string} */ name) => /** @type {any} */ (row.querySelector(name));
      cell(".who").textContent = `worker ${i + 1}`;
      return { row, bar: cell(".bar span"), what: cell(".what") };
    });
    part("ol").append(...this.rows.map(({ row }) => row));
    parent.append(card);
  }

  /** @param {import("./findings.mjs").Module} module */
  count({ interpreter, seconds }) {
    this.done++;
    this.busy += seconds;
    const { done, seconds: before } = this.#shares.get(interpreter) ?? { done: 0, seconds: 0 };
    this.#shares.set(interpreter, { done: done + 1, seconds: before + seconds });
    if (this.done === this.total) this.finish();
  }

  /** Stops the clock, if it has not been stopped before. */
  finish() {
    if (this.#over) return;
    this.seconds = (performance.now() - this.#started) / 1000;
    this.draw();
    this.#over = true;
  }

  /** Shows what is known now. */
  draw() {
    if (this.#over) return;
    const elapsed = this.seconds || (performance.now() - this.#started) / 1000;
    this.bar.value = this.done;
    this.time.textContent = `${this.done} of ${this.total}, ${elapsed.toFixed(2)} s`;
    let i = 0;
    for (const { done, seconds } of this.#shares.values()) {
      const { bar, what } = this.rows[i++] ?? {};
      const share = Math.min(1, seconds / elapsed);
      bar.style.transform = `scaleX(${share})`;
      what.textContent = `${done} modules, ${Math.round(share * 100)} % busy`;
    }
  }
}
