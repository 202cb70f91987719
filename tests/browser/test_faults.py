"""The fault matrix: where a task can fail, and how, alone and with others queued behind it.

Every future settles with the documented type, all others with their results, and the pool goes on.
"""

import pytest

from tests.hubs import Hub, PageHub

PHASES = """
    import ctypes
    class Fault:
        '''Does harm when it is pickled, or when it is read, in the interpreter that is meant.'''
        def __init__(self, when, where, harm):
            self.when, self.where, self.harm = when, where, harm
        def __reduce__(self):
            if self.when == "pickle" and self.where == here():
                cause(self.harm)
            return (Fault.read if self.when == "read" else Fault), (
                self.when, self.where, self.harm)
        @staticmethod
        def read(when, where, harm):
            if where == here():
                cause(harm)
            return Fault(when, where, harm)
    def here():
        from pyworkers._worker import current_worker
        return "hub" if current_worker() is None else "worker"
    def cause(harm):
        if harm == "exception": raise LookupError("harm")
        if harm == "SystemExit": raise SystemExit(3)
        if harm == "MemoryError": raise MemoryError
        if harm == "RecursionError": deeper()
        if harm == "os._exit": os._exit(3)
        if harm == "abort": ctypes.string_at(2**31)
        if harm == "thread":
            import js
            js.process.exit(5)
        if harm == "loop":
            while True: pass
        if harm == "sleep": time.sleep(3600)
    def deeper():
        deeper()
    def take(value): return "taken"
    def give(when, where, harm): return Fault(when, where, harm)
    PHASES = {
        "argument pickled": (take, "pickle", "hub"),
        "argument read": (take, "read", "worker"),
        "running": (cause, "", ""),
        "result pickled": (give, "pickle", "worker"),
        "result read": (give, "read", "hub"),
    }
    def submit(pool, phase, harm, timeout):
        function, when, where = PHASES[phase]
        args = [Fault(when, where, harm)] if function is take else [when, where, harm]
        if function is cause: args = [harm]
        return pool.submit_with(function, args, timeout=timeout)
    async def outcome_of(future):
        try:
            return repr(await future)
        except BaseException as error:
            return type(error).__name__
"""

RAISED = {
    "exception": "LookupError",
    "SystemExit": "SystemExit",
    "MemoryError": "MemoryError",
    "RecursionError": "RecursionError",
}
FATAL = ("os._exit", "abort", "thread")
ENDLESS = ("loop", "sleep")


def expected(phase: str, harm: str) -> str:
    """The type of error that the future of such a task has."""
    if harm in FATAL:
        return "WorkerLost"
    if harm in ENDLESS:
        return "TimeoutError"
    if phase != "running" and harm != "SystemExit":
        return "PayloadError"
    return RAISED[harm]


IN_WORKER = ["argument read", "running", "result pickled"]
# What ends the hub's own interpreter, or keeps it busy, is not for the pool to survive.
IN_HUB = ["argument pickled", "result read"]


@pytest.mark.parametrize("phase", [*IN_WORKER, *IN_HUB])
@pytest.mark.parametrize("queued", [0, 50], ids=["alone", "with 50 queued"])
def test_every_fault_settles_its_own_future_and_no_other(hub: Hub, phase: str, queued: int) -> None:
    """A-07 A-08 B-05 D-09 X-02"""
    harms = [*RAISED, *FATAL, *ENDLESS] if phase in IN_WORKER else [*RAISED]
    if isinstance(hub, PageHub):
        # A browser's thread ends only where it awaits: test_lifecycle.py has a test of that.
        harms = [harm for harm in harms if harm != "thread"]
    outcomes = hub.run(
        PHASES
        + """
    outcomes = []
    async with WorkerPool(1, grace=0.05) as pool:
        for harm in harms:
            await pool.submit(abs, 1)
            timeout = 0.15 if harm in ("loop", "sleep") else 60
            try:
                future = submit(pool, phase, harm, timeout)
            except BaseException as error:
                future = None
                outcome = "submit raised " + type(error).__name__
            rest = [pool.submit(abs, -n) for n in range(queued)]
            if future is not None:
                outcome = await asyncio.wait_for(outcome_of(future), 30)
            total = sum([await asyncio.wait_for(other, 30) for other in rest])
            outcomes.append((harm, outcome, total))
        alive = await pool.submit(abs, -7)
    return outcomes, alive, pool._engine.scheduler.outstanding
""",
        phase=phase,
        harms=harms,
        queued=queued,
    )
    wanted = []
    for harm in harms:
        outcome = expected(phase, harm)
        if (phase, harm) == ("argument pickled", "SystemExit"):
            outcome = "submit raised SystemExit"  # the caller's own code ran, and said so
        wanted.append([harm, outcome, sum(range(queued))])
    assert outcomes[0] == wanted
    assert outcomes[1:] == [7, 0]


@pytest.mark.lengthy
@pytest.mark.parametrize("queued", [0, 50], ids=["alone", "with 50 queued"])
def test_a_task_that_takes_all_memory_there_is_fails_alone(hub: Hub, queued: int) -> None:
    """A-07 B-05 C-03: with what it took still held, until its worker has told of the error."""
    outcome = hub.run(
        """
        def exhaust():
            kept, size = [], 2**28
            while size >= 2**10:
                try:
                    kept.append(bytearray(size))
                except MemoryError:
                    size //= 2
            while True:
                kept.append(bytearray(16))
        async with WorkerPool(1, heap_limit=2**30, grace=60) as pool:
            future = pool.submit(exhaust)
            rest = [pool.submit(abs, -n) for n in range(queued)]
            try:
                outcome = repr(await asyncio.wait_for(future, 90))
            except Exception as error:
                outcome = repr(error), "exhaust" in str(error.__cause__)
            total = sum([await asyncio.wait_for(other, 60) for other in rest])
            alive = await asyncio.wait_for(pool.submit(abs, -7), 60)
            stats = pool.stats()
        return outcome, total, alive, stats.workers_lost + stats.workers_ended, stats.queued
        """,
        queued=queued,
    )
    assert outcome == [["MemoryError()", True], sum(range(queued)), 7, 1, 0]


def test_what_a_worker_said_last_is_heard(hub: Hub) -> None:
    """B-05: its output and messages come before its end, however it ends."""
    heard = hub.run(
        """
        def die(how):
            print("last words", flush=True)
            from pyworkers import task
            task.channel("end").post("bye", how)
            os._exit(3) if how == "exit" else os.abort()
        heard = []
        async with WorkerPool(2, on_output=lambda *said: heard.append(said[2].strip())) as pool:
            pool.channel("end").on("bye", lambda message: heard.append(message.payload))
            for how in ["exit", "abort"] * 3:
                try:
                    await pool.submit(die, how)
                except WorkerLost:
                    heard.append("lost")
        return [line for line in heard if line in ("last words", "exit", "abort", "lost")]
        """
    )
    rounds = [heard[n : n + 3] for n in range(0, len(heard), 3)]
    assert rounds == [["last words", how, "lost"] for how in ["exit", "abort"] * 3]
