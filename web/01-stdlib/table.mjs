/**
 * A table that its headers sort, and that is filled over several frames so that none is late.
 */

/** @typedef {Readonly<Record<string, string | number>>} Row */

const ROWS_PER_FRAME = 40;

/** @returns {Promise<unknown>} resolved in the next frame; a hidden page has none to wait for */
const nextFrame = () =>
  document.hidden ? Promise.resolve() : new Promise((resolve) => requestAnimationFrame(resolve));

/**
 * @param {(string | number)[]} cells numbers are aligned at their end
 * @returns {HTMLTableRowElement}
 */
export function row(cells) {
  const element = document.createElement("tr");
  for (const content of cells) {
    const cell = element.insertCell();
    if (typeof content === "number") {
      cell.className = "number";
      cell.textContent = content.toLocaleString("en");
    } else {
      cell.textContent = content;
      cell.title = content;
    }
  }
  return element;
}

/** A table of records, of which each column shows the one field that its header's `data-key` names. */
export class SortableTable {
  /** @type {Row[]} */
  #records = [];
  /** Counts calls of `show`: a later one ends those before. */
  #shows = 0;

  /** @param {HTMLTableElement} element one of its headers has `aria-sort` */
  constructor(element) {
    this.body = /** @type {HTMLTableSectionElement} */ (element.tBodies[0]);
    /** @type {HTMLElement[]} */
    this.headers = [...element.querySelectorAll("th")];
    for (const header of this.headers) {
      header.querySelector("button")?.addEventListener("click", () => this.#sortBy(header));
    }
  }

  /**
   * @param {Row[]} records
   * @returns {Promise<void>} resolved when all rows are there, or others are wanted
   */
  async show(records) {
    this.#records = records;
    const show = ++this.#shows;
    const sorted = this.#sorted();
    const keys = this.headers.map((header) => header.dataset.key ?? "");
    this.body.replaceChildren();
    for (let at = 0; at < sorted.length; at += ROWS_PER_FRAME) {
      const records = sorted.slice(at, at + ROWS_PER_FRAME);
      this.body.append(...records.map((record) => row(keys.map((key) => record[key] ?? ""))));
      await nextFrame();
      if (show !== this.#shows) return;
    }
  }

  /** @param {HTMLElement} header */
  #sortBy(header) {
    const before = header.getAttribute("aria-sort");
    const ascending = before ? before === "descending" : !header.classList.contains("number");
    for (const other of this.headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    this.show(this.#records);
  }

  /** @returns {Row[]} */
  #sorted() {
    const header = this.headers.find((each) => each.hasAttribute("aria-sort"));
    const key = header?.dataset.key ?? "";
    const sign = header?.getAttribute("aria-sort") === "ascending" ? 1 : -1;
    return this.#records.toSorted((a, b) => sign * compare(a[key] ?? "", b[key] ?? ""));
  }
}

/**
 * @param {string | number} a
 * @param {string | number} b
 */
const compare = (a, b) => (a < b ? -1 : Number(a > b));
