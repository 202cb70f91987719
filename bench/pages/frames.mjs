/** Watches whether the page's thread keeps up with the screen. */

/** Counts from its creation until `stop`. */
export class FrameMeter {
  over = false;
  #longestFrame = 0;
  #longestTask = 0;
  /** @type {number | undefined} */
  #last;
  #observer = new PerformanceObserver((list) => this.#note(list));

  constructor() {
    this.#observer.observe({ type: "longtask" });
    const frame = (/** @type {number} */ now) => {
      if (this.over) return;
      if (this.#last !== undefined) {
        this.#longestFrame = Math.max(this.#longestFrame, now - this.#last);
      }
      this.#last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** @param {{getEntries: () => PerformanceEntry[]}} list */
  #note(list) {
    for (const { duration } of list.getEntries()) {
      this.#longestTask = Math.max(this.#longestTask, duration);
    }
  }

  /** @returns {{frame: number, task: number}} milliseconds between two frames, and of the longest
   *   task; 0 if none took 50 ms */
  stop() {
    this.over = true;
    this.#note({ getEntries: () => this.#observer.takeRecords() });
    this.#observer.disconnect();
    return { frame: this.#longestFrame, task: this.#longestTask };
  }
}
