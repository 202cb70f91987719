/**
 * Takes the steps of some threads over primitives in shared memory, in all orders.
 *
 * The code of the shim runs as it is, over an `Atomics` and an `Int32Array` that are replaced. An
 * agent is a function that is run anew for each of its steps: what its operations returned before
 * is returned again, one more is carried out, and the next one throws. So a state is the memory
 * and what each agent was told so far; those seen before are not looked at again.
 *
 * A step is one operation on shared memory. Loads that see what only the holder of a lock or guard
 * changes, and counts that nobody decides by, belong to the step before. A wait is over when it is
 * notified, or its time is over, which is tried a few times each; and an agent may end at any
 * step, if the scenario says so. A thread's clock goes on when a wait of it takes its time.
 */

import { Side } from "../../js_shim/rwlocks.mjs";
import { Guard, Table } from "../../js_shim/slots.mjs";

Table.size = 3;
Side.readers = 3;
Guard.spins = 1;

export const FOREVER = 1e9;
const TIMEOUT_MS = 100;
/** So often a wait takes its time, each agent. */
const TIMEOUTS = 2;
const MAX_STATES = 3_000_000;

/** Words of the memory that belong to the model: seats, who is inside, results. */
export const SEATS = 0;
export const INSIDE = 4;
export const NOTES = 8;
/** Whose wait is over: from then on it does not end, as what it was told is with it. */
export const BACK = 12;
/** Where the primitives are. */
export const FIRST = 16;
export const SECOND = 32;
const GUARD = FIRST + 4;
const HUNGER = FIRST + 2;
/** Who has declared itself hungry, and has not had its turn; and how often each went before it. */
const STARVES = 60;
const BEFORE = 61;

const RealInt32Array = Int32Array;
const RealAtomics = Atomics;

class Stop extends Error {}
export class Violation extends Error {}

/**
 * @typedef {{log: number[], hash: number, status: "ready" | "blocked" | "done" | "dead",
 *   word: number, ms: number, changed: number, clock: number, timeouts: number,
 *   result: any}} Agent
 * @typedef {{memory: Int32Array, agents: Agent[], queue: number[], deaths: number}} State
 * @typedef {{name: string, setUp?: (memory: Int32Array) => void, before?: number[],
 *   agents: ((self: number) => any)[], deaths?: number, mortal?: number[], patience?: number,
 *   hunger?: boolean, quiet?: number[],
 *   final: (state: State) => void, mayWait?: (state: State) => boolean}} Scenario
 */

/** @type {State} */
export let state;
export let self = 0;
let position = 0;
let clock = 0;
/** The clock when the agent that runs began to want what it waits for. */
let wanted = 0;
let isSpent = false;
let isStopped = false;
/** What the agent that runs was told, as far as it can still matter. */
let known = 0;

/**
 * @param {number} hash
 * @param {number} value
 */
const mixed = (hash, value) => Math.imul(hash ^ value, 0x01000193) ^ (hash >>> 13);

/**
 * Carries an operation out, or says what came of it before.
 * @param {boolean} isStep
 * @param {() => number} operation
 */
export function perform(isStep, operation) {
  const agent = /** @type {Agent} */ (state.agents[self]);
  if (isStopped) throw new Stop();
  if (position < agent.log.length) {
    const told = agent.log[position++];
    if (told === TIMED_OUT) clock += TIMEOUT_MS;
    known = mixed(known, /** @type {number} */ (told));
    return /** @type {number} */ (told);
  }
  if (isStep) {
    if (isSpent) {
      isStopped = true;
      throw new Stop();
    }
    isSpent = true;
  }
  const told = operation();
  agent.log = [...agent.log, told];
  known = mixed(known, told);
  position++;
  return told;
}

/**
 * @param {Agent} agent
 * @param {number} told
 */
function tell(agent, told) {
  // States share logs.
  agent.log = [...agent.log, told];
  agent.hash = mixed(agent.hash, told);
}

const OK = 1_000_001;
const NOT_EQUAL = 1_000_002;
const TIMED_OUT = 1_000_003;
const TEXTS = { [OK]: "ok", [NOT_EQUAL]: "not-equal", [TIMED_OUT]: "timed-out" };

/** Words of the primitives of the scenario that are not worth a step: by index. */
let quiet = new Set();

const target = new Proxy(new RealInt32Array(0), {
  get(_, key) {
    if (typeof key === "symbol" || Number.isNaN(Number(key))) throw new Error(String(key));
    return perform(!quiet.has(Number(key)), () => state.memory[Number(key)] ?? 0);
  },
  set(_, key, value) {
    perform(!quiet.has(Number(key)), () => {
      state.memory[Number(key)] = value;
      return 0;
    });
    return true;
  },
});

globalThis.Int32Array = /** @type {any} */ (
  /** @param {any} buffer @param {number} offset */
  function Words(buffer, offset = 0) {
    if (buffer !== "shared") return new RealInt32Array(buffer);
    // A part of the memory is seen as all of it is.
    return offset === 0 ? target : { offset: offset / 4 };
  }
);

/** @param {any} words @param {number} index */
const place = (words, index) => (words === target ? 0 : words.offset) + index;

/** @param {(memory: Int32Array, index: number, ...args: number[]) => number} operation */
const atomic =
  (operation) =>
  (/** @type {any} */ words, /** @type {number} */ given, /** @type {number[]} */ ...args) => {
    const index = place(words, given);
    return perform(!quiet.has(index), () => {
      const before = state.memory[index];
      const told = operation(state.memory, index, ...args);
      if (index === HUNGER && watchesHunger && before !== state.memory[index]) hungers();
      return told;
    });
  };

/** Whether the scenario looks at who starves. */
let watchesHunger = false;

/**
 * Somebody is hungry now, or is not any more: as it has what it wanted, or as another has let it go
 * first for the whole time in which it has to.
 */
function hungers() {
  const { memory } = state;
  const starving = memory[STARVES] ?? 0;
  if (starving !== 0 && starving !== self + 1 && clock === wanted) {
    throw new Violation(`${self} does not wait for ${starving - 1}, who is hungry`);
  }
  memory[STARVES] = memory[HUNGER] ?? 0;
  memory.fill(0, BEFORE, BEFORE + state.agents.length);
}

/** Has its turn, of what one has at a time: nobody goes twice before who is hungry. */
export function takesItsTurn() {
  note(() => {
    const { memory } = state;
    const starving = memory[STARVES] ?? 0;
    if (starving === 0 || starving === self + 1 || clock !== wanted) return;
    memory[BEFORE + self] = (memory[BEFORE + self] ?? 0) + 1;
    if ((memory[BEFORE + self] ?? 0) > 1) {
      throw new Violation(`${self} goes twice before ${starving - 1}, who is hungry`);
    }
  });
}

globalThis.Atomics = /** @type {any} */ ({
  ...Object.fromEntries(
    ["load", "store", "add", "sub", "exchange", "compareExchange", "xor"].map((name) => [
      name,
      atomic(/** @type {any} */ (RealAtomics)[name]),
    ]),
  ),
  wait(/** @type {any} */ words, /** @type {number} */ index, /** @type {number} */ value, ms) {
    const told = perform(true, () => {
      if (state.memory[place(words, index)] !== value) return NOT_EQUAL;
      const agent = /** @type {Agent} */ (state.agents[self]);
      agent.status = "blocked";
      agent.word = place(words, index);
      agent.ms = ms;
      agent.changed = hashOf(state.memory);
      state.queue.push(self);
      isStopped = true;
      throw new Stop();
    });
    return /** @type {any} */ (TEXTS)[told];
  },
  notify(/** @type {any} */ words, /** @type {number} */ index, /** @type {number} */ count) {
    return perform(true, () => {
      const sleepers = state.queue.filter((i) => state.agents[i]?.word === place(words, index));
      for (const i of sleepers.slice(0, count)) wake(state, i, OK);
      return Math.min(sleepers.length, count);
    });
  },
});
Object.defineProperty(performance, "now", { value: () => clock });

/** @param {State} of @param {number} i @param {number} told */
function wake(of, i, told) {
  const agent = /** @type {Agent} */ (of.agents[i]);
  of.queue = of.queue.filter((other) => other !== i);
  agent.status = "ready";
  tell(agent, told);
}

/** @param {number} peer */
const arenaOf = (peer) =>
  /** @type {any} */ ({
    self: peer,
    canBlock: true,
    sit() {},
    bytes: () => ({ buffer: "shared" }),
    isWatched: () => false,
    isSeated: (/** @type {number} */ other) =>
      other >= 0 && perform(true, () => state.memory[SEATS + other] ?? 0) === 1,
  });

/**
 * Does something of which only its result matters later.
 * @template T
 * @param {() => T} work
 * @returns {T}
 */
export function summed(work) {
  const before = known;
  const result = work();
  known = mixed(before, Number(result) + 1_000);
  return result;
}

/**
 * What a try has found does not matter to the next one, but for what the thread has learnt of the
 * hungry.
 * @param {any} waiting
 */
export function withoutSpin(waiting) {
  waiting.spins = 0;
  const { acquire, attempt } = waiting;
  let before = 0;
  let tries = 0;
  waiting.attempt = (/** @type {number} */ waited) => {
    const polite = clock < waiting.politeUntil ? 1 : 0;
    known = mixed(before, 16 * Math.min(tries++, 1) + 8 * polite + waiting.hungry);
    known = mixed(known, Math.min(clock, 2 * TIMEOUT_MS));
    return attempt.call(waiting, waited);
  };
  waiting.acquire = (/** @type {number} */ ms, /** @type {number} */ waited) => {
    before = known;
    wanted = clock;
    tries = 0;
    const got = acquire.call(waiting, ms, waited);
    known = mixed(before, got + 2_000);
    return got;
  };
  return waiting;
}

/** A primitive, as the agent that runs sees it. @param {any} kind @param {number} word */
export const made = (kind, word = FIRST) =>
  withoutSpin(new kind(arenaOf(self), 4 * word, undefined));

/** Notes something in the memory, of the agent that runs. @param {() => void} change */
export const note = (change) =>
  perform(true, () => {
    change();
    return 0;
  });

/** An agent is alone in here, but for so many others. */
export function visit(others = 0) {
  note(() => {
    state.memory[INSIDE + self] = 1;
    const inside = state.agents.filter(
      (agent, i) => agent.status !== "dead" && state.memory[INSIDE + i] === 1,
    );
    if (inside.length > 1 + others) throw new Violation(`${inside.length} are inside`);
  });
  leave();
}

/** Is inside no more; who looks at that does so when it enters. */
export function leave() {
  perform(false, () => {
    state.memory[INSIDE + self] = 0;
    return 0;
  });
}

/** @param {Int32Array} memory */
function hashOf(memory) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < memory.length; i++) hash = mixed(hash, memory[i] ?? 0);
  return hash;
}

/** @param {State} of */
function keyOf({ memory, agents, queue }) {
  let one = 0x811c9dc5;
  let two = 0x1234567;
  for (let i = 0; i < memory.length; i++) {
    const word = memory[i] ?? 0;
    if (word === 0) continue;
    one = mixed(one, word + (i << 20));
    two = Math.imul(two + word, 0x9e3779b1) ^ i;
  }
  for (const { hash, status, timeouts, word } of agents) {
    one = mixed(one, hash + timeouts);
    two = Math.imul(two + hash, 0x85ebca6b) ^ (status.length + 16 * word);
  }
  for (const i of queue) two = Math.imul(two, 31) + i + 77;
  return (one >>> 0) * 2 ** 21 + (two >>> 11);
}

/** @param {State} of @returns {State} */
const copied = ({ memory, agents, queue, deaths }) => ({
  memory: memory.slice(),
  agents: agents.map((agent) => ({ ...agent })),
  queue: queue.slice(),
  deaths,
});

/**
 * Has an agent take a step.
 * @param {Scenario} scenario
 * @param {State} from
 * @param {number} i
 */
function step(scenario, from, i) {
  state = from;
  self = i;
  position = 0;
  clock = 0;
  wanted = 0;
  isSpent = false;
  isStopped = false;
  known = 7;
  const agent = /** @type {Agent} */ (from.agents[i]);
  try {
    agent.result = /** @type {any} */ (scenario.agents[i])(i);
    agent.status = "done";
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
  }
  agent.hash = known;
}

/**
 * @param {Scenario} scenario
 * @param {State} from
 * @returns {[string, State][]} what can happen next
 */
function moves(scenario, from) {
  const { deaths = 0, mortal = [], patience = TIMEOUTS } = scenario;
  /** @type {[string, State][]} */
  const found = [];
  from.agents.forEach((agent, i) => {
    if (agent.status === "ready") {
      const to = copied(from);
      step(scenario, to, i);
      found.push([`${i}`, to]);
    }
    // A wait with a bound may always end by itself, others a few times, and after a death as slices of
    // a longer one; but who naps before a guard looks again in vain if nothing has changed.
    const isFree = isBounded(agent) || from.deaths > 0;
    const isNap = agent.word === GUARD && hashOf(from.memory) === agent.changed;
    const mayEnd = isFree ? !isNap : agent.timeouts < patience;
    if (agent.status === "blocked" && mayEnd) {
      const to = copied(from);
      wake(to, i, TIMED_OUT);
      if (!isFree) /** @type {Agent} */ (to.agents[i]).timeouts++;
      found.push([`${i}!`, to]);
    }
    const lives = agent.status === "ready" || agent.status === "blocked";
    const isMortal = mortal.includes(i) && from.memory[BACK + i] === 0;
    if (lives && isMortal && from.deaths < deaths) {
      const to = copied(from);
      to.queue = to.queue.filter((other) => other !== i);
      const dead = /** @type {Agent} */ (to.agents[i]);
      dead.status = "dead";
      to.memory[SEATS + i] = 0;
      to.deaths++;
      found.push([`${i}+`, to]);
    }
  });
  return found;
}

/** @param {Agent} agent whether its wait ends by itself */
const isBounded = ({ ms }) => ms < FOREVER / 2;

/** @param {Scenario} scenario */
export function explore(scenario) {
  quiet = new Set(scenario.quiet);
  watchesHunger = scenario.hunger ?? false;
  const memory = new RealInt32Array(72);
  scenario.agents.forEach((_, i) => {
    memory[SEATS + i] = 1;
  });
  scenario.setUp?.(memory);
  /** @type {State} */
  const first = {
    memory,
    agents: scenario.agents.map(() => ({
      log: [],
      hash: 7,
      status: "ready",
      word: -1,
      ms: 0,
      changed: 0,
      clock: 0,
      timeouts: 0,
      result: undefined,
    })),
    queue: [],
    deaths: 0,
  };
  // Those that are to wait already.
  for (const i of scenario.before ?? []) {
    while (first.agents[i]?.status === "ready") step(scenario, first, i);
  }
  const seen = new Set([keyOf(first)]);
  /** @type {{state: State, path: string}[]} */
  const open = [{ state: first, path: "" }];
  const ends = new Map();
  while (open.length > 0) {
    const { state: from, path } = /** @type {{state: State, path: string}} */ (open.pop());
    let next;
    try {
      next = moves(scenario, from);
      const isStuck = from.agents.every(({ status }) => status !== "ready");
      const waits = from.agents.some((agent) => agent.status === "blocked" && !isBounded(agent));
      const isOver = from.agents.every(({ status }) => status === "done" || status === "dead");
      if (isOver) {
        scenario.final(from);
        const results = JSON.stringify(from.agents.map(({ result }) => result ?? null));
        ends.set(results, (ends.get(results) ?? 0) + 1);
      } else if (scenario.mayWait?.(from)) {
        // Nobody is there who could have woken it.
      } else if (next.length === 0 || (isStuck && waits && stuck(scenario, from))) {
        throw new Violation(`all wait: ${from.agents.map((a) => `${a.status} ${a.word}`)}`);
      }
    } catch (error) {
      throw new Error(`${scenario.name}, by ${path}: ${error.stack}\n${from.memory}`);
    }
    for (const [move, to] of next) {
      const key = keyOf(to);
      if (seen.has(key)) continue;
      seen.add(key);
      if (process.env.TRACE && seen.size % 20000 === 0)
        console.error(seen.size, process.cpuUsage().user / 1e6);
      if (seen.size > MAX_STATES) throw new Error(`${scenario.name} has too many states`);
      open.push({ state: to, path: `${path} ${move}` });
    }
  }
  return { states: seen.size, ends: ends.size };
}

/**
 * Whether nobody can go on but by waiting in vain, which nobody should have to. After a death those
 * who wait have to find it out, each in one of its next looks.
 * @param {Scenario} scenario
 * @param {State} from
 */
function stuck(scenario, from) {
  if (from.deaths === 0) {
    const isLost = from.agents.every((agent) => agent.status !== "blocked" || !isBounded(agent));
    return isLost && (scenario.patience ?? TIMEOUTS) === 0;
  }
  const to = copied(from);
  for (let round = 0; round < 3 * to.agents.length; round++) {
    to.agents.forEach(({ status }, i) => {
      if (status === "blocked") wake(to, i, TIMED_OUT);
      while (to.agents[i]?.status === "ready") step(scenario, to, i);
    });
    if (to.agents.every(({ status }) => status === "done" || status === "dead")) return false;
  }
  return true;
}

/** @param {boolean} holds @param {string} text */
export function check(holds, text) {
  if (!holds) throw new Violation(text);
}

/** @param {State} of @param {number} value */
export const countOf = (of, value) => of.agents.filter(({ result }) => result === value).length;
