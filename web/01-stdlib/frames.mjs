/**
 * Measures whether the page's thread keeps up with the screen.
 *
 * Owns the times between frames, the long tasks where the browser reports them, and their card.
 */

const SHOWN = 120;
const LIMIT_MS = 50;
const DUE_MS = 1000 / 60;
// Each frame is measured, but drawing takes time from the workers where cores are few.
const FRAMES_PER_DRAWING = 4;
const FRAMES_PER_TEXT = 16;

const part = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const [rate, longest, longTasks] = [part("rate"), part("longest"), part("long-tasks")];
const canvas = /** @type {HTMLCanvasElement} */ (part("frames"));
const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
const { color } = getComputedStyle(canvas);

/**
 * @typedef {object} FrameReport
 * @property {number} frames
 * @property {number} rate frames per second
 * @property {number} longest milliseconds between two frames
 * @property {number | null} longTasks tasks over 50 ms; null where the browser does not report them
 * @property {number} longestTask milliseconds; 0 if there was no long task
 */

/** Counts frames from its creation, or from the last `reset`. */
export class FrameMeter {
  frames = 0;
  elapsed = 0;
  longest = 0;
  longTasks = 0;
  longestTask = 0;
  #since = performance.now();
  #observed = PerformanceObserver.supportedEntryTypes.includes("longtask");
  /** @type {number[]} the latest times between frames, in milliseconds */
  #recent = [];

  #ticks = 0;

  /** @param {() => void} draw called in some frames */
  constructor(draw) {
    /** @type {number | undefined} */
    let last;
    const frame = (/** @type {number} */ now) => {
      if (last !== undefined) this.#count(now - last);
      last = now;
      if (this.#ticks % FRAMES_PER_DRAWING === 0) draw();
      this.#ticks++;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    // A hidden page gets no frames, and needs none.
    document.addEventListener("visibilitychange", () => {
      last = undefined;
    });
    if (this.#observed) {
      new PerformanceObserver((list) => {
        for (const { duration, startTime } of list.getEntries()) {
          if (startTime < this.#since) continue;
          this.longTasks++;
          this.longestTask = Math.max(this.longestTask, duration);
        }
      }).observe({ type: "longtask" });
    }
  }

  reset() {
    this.#since = performance.now();
    this.frames = 0;
    this.elapsed = 0;
    this.longest = 0;
    this.longTasks = 0;
    this.longestTask = 0;
  }

  /** @param {number} delta */
  #count(delta) {
    this.#recent.push(delta);
    if (this.#recent.length > SHOWN) this.#recent.shift();
    this.frames++;
    this.elapsed += delta;
    this.longest = Math.max(this.longest, delta);
  }

  /** @returns {FrameReport} */
  report() {
    return {
      frames: this.frames,
      rate: this.elapsed ? (this.frames / this.elapsed) * 1000 : 0,
      longest: this.longest,
      longTasks: this.#observed ? this.longTasks : null,
      longestTask: this.longestTask,
    };
  }

  /** Shows the rate of late, the longest frame, and the latest times as bars. */
  draw() {
    this.#drawBars();
    if (this.#ticks % FRAMES_PER_TEXT) return;
    const sum = this.#recent.reduce((total, delta) => total + delta, 0);
    rate.textContent = sum ? ((this.#recent.length / sum) * 1000).toFixed(0) : "–";
    longest.textContent = `${this.longest.toFixed(0)} ms`;
    longTasks.textContent = this.#observed ? String(this.longTasks) : "not reported";
  }

  /** The canvas is 50 ms high; the line is at 60 frames per second. */
  #drawBars() {
    const { width, height } = canvas;
    const step = width / SHOWN;
    context.clearRect(0, 0, width, height);
    context.fillStyle = color;
    for (const [i, delta] of this.#recent.entries()) {
      const bar = Math.min(1, delta / LIMIT_MS) * height;
      context.fillRect(i * step, height - bar, step - 0.5, bar);
    }
    context.fillRect(0, height - (DUE_MS / LIMIT_MS) * height, width, 0.5);
  }
}
