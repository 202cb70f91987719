/**
 * What has been found so far: totals, the most complex functions, and the modules.
 */

import { row } from "./table.mjs";

/**
 * What measure.py says of a module.
 * @typedef {object} Module
 * @property {string} name
 * @property {number} lines
 * @property {number} functions
 * @property {number} classes
 * @property {number} complexity
 * @property {{name: string, line: number, complexity: number}[]} most_complex
 * @property {number} interpreter
 * @property {number} seconds
 */

const TOP = 10;

/** @type {NodeListOf<HTMLElement>} */
const tiles = document.querySelectorAll("[data-total]");
const body = /** @type {HTMLElement} */ (document.querySelector("#functions tbody"));

/** The findings of one run. */
export class Findings {
  totals = { modules: 0, lines: 0, functions: 0, classes: 0, complexity: 0 };
  /** @type {{complexity: number, name: string, where: string}[]} most complex first */
  top = [];
  /** @type {Module[]} */
  #modules = [];
  #totalsDrawn = false;
  #topDrawn = false;

  /** @param {Module} module */
  add(module) {
    this.#modules.push(module);
    this.totals.modules++;
    this.#totalsDrawn = false;
    for (const key of /** @type {const} */ (["lines", "functions", "classes", "complexity"])) {
      this.totals[key] += module[key];
    }
    for (const { complexity, name, line } of module.most_complex) {
      if (this.top.length === TOP && complexity < (this.top.at(-1)?.complexity ?? 0)) break;
      this.top.push({ complexity, name, where: `${module.name}, line ${line}` });
      this.top.sort((a, b) => b.complexity - a.complexity || (a.where < b.where ? -1 : 1));
      this.top.length = Math.min(this.top.length, TOP);
      this.#topDrawn = false;
    }
  }

  /** @returns the modules as the rows of a table */
  records() {
    return this.#modules.map(({ name, lines, functions, classes, complexity, most_complex }) => {
      const [worst] = most_complex;
      const highest = worst?.complexity ?? 0;
      return { name, lines, functions, classes, complexity, highest, where: worst?.name ?? "" };
    });
  }

  /** Shows what is new. */
  draw() {
    if (!this.#totalsDrawn) this.#drawTotals();
    if (!this.#topDrawn) {
      body.replaceChildren(
        ...this.top.map(({ complexity, name, where }) => row([complexity, name, where])),
      );
    }
    this.#totalsDrawn = this.#topDrawn = true;
  }

  #drawTotals() {
    const { functions, complexity } = this.totals;
    /** @type {Record<string, number>} */
    const shown = { ...this.totals, mean: functions ? complexity / functions : 0 };
    for (const tile of tiles) {
      const value = shown[tile.dataset.total ?? ""] ?? 0;
      tile.textContent = value.toLocaleString("en", { maximumFractionDigits: 1 });
    }
  }
}
