/**
 * Checks primitives in shared memory by all orders in which their threads can take their steps:
 * `node sync_model.mjs [SCENARIO]`. Prints, as JSON, how many states each scenario has.
 *
 * Owns the scenarios, and what has to be true in them; `sync_explorer.mjs` takes the steps.
 */

import { Barrier, Latch, Once } from "../../js_shim/barriers.mjs";
import { Condition } from "../../js_shim/conditions.mjs";
import { Flag, Lock, Semaphore } from "../../js_shim/locks.mjs";
import { RWLock } from "../../js_shim/rwlocks.mjs";
import { DONE, INHERITED, NOT_YET } from "../../js_shim/waiting.mjs";
import {
  BACK,
  check,
  countOf,
  explore,
  FIRST,
  FOREVER,
  INSIDE,
  leave,
  made,
  NOTES,
  note,
  perform,
  SEATS,
  SECOND,
  self,
  state,
  summed,
  takesItsTurn,
  Violation,
  visit,
  withoutSpin,
} from "./sync_explorer.mjs";

/**
 * @typedef {import("./sync_explorer.mjs").State} State
 * @typedef {import("./sync_explorer.mjs").Scenario} Scenario
 */

/** @param {number} rounds */
const locks =
  (rounds, ms = FOREVER) =>
  () => {
    const lock = made(Lock);
    let got = NOT_YET;
    for (let i = 0; i < rounds; i++) {
      got = lock.acquire(ms, 0);
      if (got === NOT_YET) break;
      visit();
      summed(() => lock.release());
    }
    return got;
  };

/** Takes something that one has at a time, so often. */
const turns = (/** @type {any} */ kind, /** @type {number} */ rounds) => () => {
  const it = made(kind);
  for (let i = 0; i < rounds; i++) {
    while (it.acquire(FOREVER, 0) === NOT_YET);
    takesItsTurn();
    summed(() => it.release(1));
  }
};

/** @param {State} of */
function lockIsFree(of) {
  const owner = of.memory[FIRST] ?? 0;
  check(owner === 0 || of.memory[SEATS + owner - 1] === 0, `the lock is held by ${owner}`);
}

/**
 * A wait, as Python makes it.
 * @param {Condition} condition
 * @param {boolean | "late"} isCancelled "late": as it has its lock again
 */
function waited(condition, ticket = self + 1, ms = FOREVER, isCancelled = false) {
  summed(() => condition.suspend(ticket));
  for (;;) {
    const woken = withoutSpin(condition.part(ticket)).acquire(ms, 0);
    const how = isCancelled === true ? 2 : woken === NOT_YET ? 1 : 0;
    let got = NOT_YET;
    const back = withoutSpin(condition.part(ticket, how));
    while (got === NOT_YET) got = back.acquire(FOREVER, 0);
    if (got & 8) continue;
    if (isCancelled !== "late") return got & 4 ? 4 : 0;
    summed(() => condition.part(ticket, 2).attempt(0));
    return 0;
  }
}

function conditions() {
  const lock = made(Lock);
  const condition = made(Condition, SECOND);
  condition.bind(lock);
  return { lock, condition };
}

/** Takes the lock, whoever has had it. @param {Lock} lock */
function take(lock) {
  while (lock.acquire(FOREVER, 0) === NOT_YET);
}

const waits =
  (ms = FOREVER, /** @type {boolean | "late"} */ isCancelled = false) =>
  () => {
    const { lock, condition } = conditions();
    take(lock);
    const got = waited(condition, self + 1, ms, isCancelled);
    perform(false, () => {
      state.memory[BACK + self] = 1;
      return 0;
    });
    check(lock.isMine(), "the lock is not held after a wait");
    visit();
    summed(() => lock.release());
    return got;
  };

const notifies =
  (/** @type {number[]} */ ...counts) =>
  () => {
    const { lock, condition } = conditions();
    for (const count of counts) {
      take(lock);
      const woken = summed(() => condition.notify(count));
      note(() => {
        state.memory[NOTES] = (state.memory[NOTES] ?? 0) + woken;
      });
      summed(() => lock.release());
    }
    return -1;
  };

/** @param {State} of */
function allWereTold(of) {
  const notified = countOf(of, 4);
  check(notified === of.memory[NOTES], `${of.memory[NOTES]} were notified, ${notified} told`);
}

/** Words of a condition that only who holds its lock changes, and counts. */
const CONDITION_QUIET = [1, 2].map((word) => SECOND + word);
for (let slot = 0; slot < 3; slot++) {
  for (const word of [1, 2, 3, 4, 5, 6, 7]) CONDITION_QUIET.push(SECOND + 4 + 8 * slot + word);
}
const LOCK_QUIET = [FIRST + 3, FIRST + 4, FIRST + 5, FIRST + 6];
/** Nobody is hungry where no wait takes its time. */
const NO_HUNGER = FIRST + 2;

const arrives =
  (ms = FOREVER) =>
  () => {
    const barrier = made(Barrier);
    const index = summed(() => barrier.arrive(self + 1, false));
    if (index >= 0) withoutSpin(barrier.part(self + 1)).acquire(ms, 0);
    return barrier.finish(self + 1) ? "passed" : "broken";
  };
const BARRIER_QUIET = [3, 5, 7, 8, 9].map((word) => FIRST + word);
for (let slot = 0; slot < 3; slot++) {
  for (const word of [2, 3, 4, 5, 6, 7]) BARRIER_QUIET.push(FIRST + 12 + 8 * slot + word);
}

const RW_QUIET = [3, 8, 9, 10].map((word) => FIRST + word);

const rw = (/** @type {number} */ side) => () => {
  const part = withoutSpin(made(RWLock).part(side));
  let got = NOT_YET;
  while (got === NOT_YET) got = part.acquire(FOREVER, 0);
  if (side === 1) visitAs(1);
  else visitAs(2);
  summed(() => part.release());
  return got;
};

/** @param {number} as 1 with others like this one, 2 alone */
function visitAs(as) {
  note(() => {
    state.memory[INSIDE + self] = as;
    state.agents.forEach((agent, i) => {
      const other = agent.status === "dead" || i === self ? 0 : state.memory[INSIDE + i];
      if (other === 2 || (other === 1 && as === 2)) throw new Violation("reads and writes");
    });
  });
  leave();
}

const calls = () => {
  const once = made(Once);
  let got = NOT_YET;
  while (got === NOT_YET) got = once.acquire(FOREVER, 0);
  if (got === INHERITED) {
    note(() => {
      state.memory[NOTES] = (state.memory[NOTES] ?? 0) + 1;
    });
    once.finish(true);
  }
  return got;
};

/** @type {Scenario[]} */
const SCENARIOS = [
  {
    name: "a lock, three threads",
    quiet: [...LOCK_QUIET, NO_HUNGER],
    agents: [locks(1), locks(1), locks(1)],
    patience: 0,
    final: lockIsFree,
  },
  {
    name: "a lock, two threads, twice each",
    quiet: [...LOCK_QUIET, NO_HUNGER],
    agents: [locks(2), locks(2)],
    patience: 0,
    final: lockIsFree,
  },
  {
    name: "a lock that one waits for in vain",
    quiet: LOCK_QUIET,
    agents: [locks(1), locks(1, 5), locks(1)],
    patience: 0,
    final: lockIsFree,
  },
  {
    name: "a lock whose holder may end",
    quiet: LOCK_QUIET,
    agents: [locks(1), locks(1)],
    deaths: 1,
    mortal: [0],
    final: (of) => {
      lockIsFree(of);
      const told = countOf(of, INHERITED);
      check(told <= 1, `${told} were told of one end`);
      check(told === of.memory[FIRST + 6], "a loss was not told");
      if (of.agents[0]?.status === "dead") check(of.memory[FIRST] !== 1 || told === 0, "twice");
    },
  },
  {
    name: "a lock that one takes again and again, and another waits for until it is hungry",
    quiet: LOCK_QUIET,
    agents: [turns(Lock, 1), turns(Lock, 3)],
    patience: 1,
    hunger: true,
    final: (of) => check(of.memory[FIRST] === 0, "the lock is held"),
  },
  {
    name: "a semaphore of one that one takes again and again, and another waits for",
    quiet: [FIRST + 3, FIRST + 4],
    setUp: (memory) => {
      memory[FIRST] = 1;
      memory[FIRST + 4] = -1;
    },
    agents: [turns(Semaphore, 1), turns(Semaphore, 3)],
    patience: 1,
    hunger: true,
    final: (of) => check(of.memory[FIRST] === 1, "a permit is lost"),
  },
  {
    name: "a semaphore of two, three threads",
    quiet: [FIRST + 3],
    setUp: (memory) => {
      memory[FIRST] = 2;
      memory[FIRST + 4] = -1;
    },
    agents: [0, 1, 2].map(() => () => {
      const semaphore = made(Semaphore);
      semaphore.acquire(FOREVER, 0);
      visit(1);
      summed(() => semaphore.release(1));
    }),
    patience: 0,
    final: (of) => check(of.memory[FIRST] === 2, "permits were lost"),
  },
  {
    name: "a semaphore that one gives to two",
    quiet: [FIRST + 3],
    setUp: (memory) => {
      memory[FIRST + 4] = -1;
    },
    agents: [
      () => void made(Semaphore).release(2),
      () => made(Semaphore).acquire(FOREVER, 0),
      () => made(Semaphore).acquire(FOREVER, 0),
    ],
    patience: 0,
    final: (of) => check(of.memory[FIRST] === 0 && countOf(of, DONE) === 2, "not exact"),
  },
  {
    name: "a flag that is set while two wait",
    quiet: [FIRST + 3],
    agents: [
      () => void made(Flag).put(1),
      () => made(Flag).acquire(FOREVER, 0),
      () => made(Flag).acquire(FOREVER, 0),
    ],
    patience: 0,
    final: (of) => check(countOf(of, DONE) === 2, "one was not told"),
  },
  {
    name: "a latch of two",
    quiet: [FIRST + 3],
    setUp: (memory) => {
      memory[FIRST] = 2;
    },
    agents: [0, 1, 2].map((i) => () => {
      const latch = made(Latch);
      if (i < 2) latch.countDown(1);
      return latch.acquire(FOREVER, 0);
    }),
    patience: 0,
    final: (of) => check(countOf(of, DONE) === 3, "one was not told"),
  },
  {
    name: "once, three threads",
    quiet: [FIRST + 3, FIRST + 4],
    agents: [calls, calls, calls],
    patience: 0,
    final: (of) => check(of.memory[NOTES] === 1 && of.memory[FIRST] === -1, "not once"),
  },
  {
    name: "once, whose caller may end",
    quiet: [FIRST + 3, FIRST + 4],
    agents: [calls, calls, calls],
    deaths: 1,
    mortal: [0],
    final: (of) => {
      check(of.memory[FIRST] === -1, "not done");
      check((of.memory[NOTES] ?? 0) <= 1 + of.deaths, "too often");
    },
  },
  {
    name: "a condition that notifies one and then the other",
    quiet: [...LOCK_QUIET, ...CONDITION_QUIET],
    before: [0, 1],
    agents: [waits(), waits(), notifies(1, 1)],
    patience: 0,
    final: (of) => {
      allWereTold(of);
      check(countOf(of, 4) === 2, "one was not told");
    },
  },
  {
    name: "a condition of whose waits one gives up by time",
    quiet: [...LOCK_QUIET, ...CONDITION_QUIET],
    before: [0, 1],
    agents: [waits(5), waits(), notifies(1, 1)],
    patience: 0,
    final: (of) => {
      allWereTold(of);
      check(of.agents[1]?.result === 4, "a notification is lost");
    },
  },
  {
    name: "a condition whose first wait is cancelled, notified or not",
    quiet: [...LOCK_QUIET, ...CONDITION_QUIET],
    before: [0, 1],
    agents: [waits(5, true), waits(), notifies(1)],
    patience: 0,
    final: (of) => check(of.agents[1]?.result === 4, "the notification is lost"),
  },
  {
    name: "a condition whose first wait is cancelled as it has its lock again",
    quiet: [...LOCK_QUIET, ...CONDITION_QUIET],
    before: [0, 1],
    agents: [waits(FOREVER, "late"), waits(), notifies(1)],
    patience: 0,
    final: (of) => check(of.agents[1]?.result === 4, "the notification is lost"),
  },
  {
    name: "a condition that is waited for while it notifies",
    quiet: [...LOCK_QUIET, ...CONDITION_QUIET],
    agents: [waits(5), notifies(1)],
    patience: 0,
    final: allWereTold,
  },
  {
    name: "a condition whose first may end, and the next one is notified",
    quiet: [...LOCK_QUIET, ...CONDITION_QUIET],
    before: [0, 1],
    agents: [waits(), waits(), notifies(1)],
    deaths: 1,
    mortal: [0],
    patience: 0,
    final: (of) => {
      if (of.agents[0]?.status === "dead") check(of.agents[1]?.result === 4, "it is lost");
    },
    // It has ended after its wait.
    mayWait: ({ memory }) =>
      memory[BACK] === 1 || (memory[SECOND + 4] === 0 && memory[FIRST] === 1),
  },
  {
    name: "a barrier of two",
    quiet: BARRIER_QUIET,
    setUp: (memory) => {
      memory[FIRST + 5] = 2;
    },
    agents: [arrives(), arrives()],
    patience: 0,
    final: (of) =>
      check(
        of.agents.every(({ result }) => result === "passed"),
        "one is missing",
      ),
  },
  {
    name: "a barrier that is given up",
    quiet: BARRIER_QUIET,
    setUp: (memory) => {
      memory[FIRST + 5] = 2;
    },
    agents: [arrives(5), arrives()],
    patience: 0,
    final: (of) => {
      const [one, two] = of.agents.map(({ result }) => result);
      check(one === two, `one has ${one}, the other ${two}`);
    },
  },
  {
    name: "a barrier at which one may end that has arrived",
    quiet: BARRIER_QUIET,
    before: [0],
    setUp: (memory) => {
      memory[FIRST + 5] = 2;
    },
    agents: [arrives(), arrives()],
    deaths: 1,
    mortal: [0],
    patience: 0,
    final: () => {},
  },
  {
    name: "readers and a writer",
    quiet: RW_QUIET,
    agents: [rw(1), rw(2)],
    patience: 0,
    final: () => {},
  },
  {
    name: "two writers",
    quiet: RW_QUIET,
    agents: [rw(2), rw(2)],
    patience: 0,
    final: () => {},
  },
  {
    name: "a writer that may end",
    quiet: RW_QUIET,
    agents: [rw(2), rw(1)],
    deaths: 1,
    mortal: [0],
    patience: 0,
    final: (of) => {
      check(countOf(of, INHERITED) <= 1, "told twice");
      check((of.memory[FIRST + 10] ?? 0) === countOf(of, INHERITED), "a loss was not told");
    },
  },
];

const report = {};
const only = process.argv[2];
for (const scenario of SCENARIOS) {
  if (only && !scenario.name.includes(only)) continue;
  const began = process.hrtime.bigint();
  const found = explore(scenario);
  const ms = Number(process.hrtime.bigint() - began) / 1e6;
  if (only !== undefined) console.error(scenario.name, found, Math.round(ms));
  Object.assign(report, { [scenario.name]: found });
}
console.log(JSON.stringify(report));
