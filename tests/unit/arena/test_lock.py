"""The lock of the arena: all ways in which its users' steps can interleave, in a model."""

from typing import NamedTuple

import pytest

pytestmark = pytest.mark.timeout(60)


class Agent(NamedTuple):
    """One thread, before a step of ``#acquire`` or ``#release``.

    Attributes:
        step: what it does next.
        held: the lock's value when it last failed to get it.
        rounds: how often it still wants the lock.
    """

    step: str
    held: int
    rounds: int


class State(NamedTuple):
    lock: int
    sleepers: int
    deaths: int
    """How many agents may still end before their time."""
    agents: tuple[Agent, ...]


def after(state: State, me: int, flaw: str) -> State | None:
    """What follows from one atomic step of an agent; None if it cannot make one.

    Agent ``me`` puts ``me + 1`` into the lock. That the code spins before it counts itself in
    changes nothing. No wait ends with its time here: each must be ended by a notify.
    """
    lock, sleepers, deaths, agents = state
    step, held, rounds = agents[me]
    match step:
        case "try":
            held = lock
            step = "count in" if lock else "inside"
            lock = lock or me + 1
        case "count in":
            sleepers += flaw != "it is not counted"
            step = "wait"
        case "wait":
            step = "asleep" if lock == held or flaw == "it waits in any case" else "count out"
        case "count out":
            sleepers -= flaw != "it is not counted"
            step = "try"
        case "inside":
            step = "let go"
        case "let go":  # for an agent that has ended too, which may not have had the lock
            lock = 0 if lock == me + 1 or flaw == "it lets go of any lock" else lock
            step = "look"
        case "look":
            step = "notify" if sleepers else "end of round"
        case "notify":
            agents = tuple(
                agent._replace(step="count out") if agent.step == "asleep" else agent
                for agent in agents
            )
            step = "end of round"
        case "end of round":
            rounds -= 1
            held = 0
            step = "try" if rounds else "done"
        case _:
            return None
    return State(
        lock, sleepers, deaths, (*agents[:me], Agent(step, held, rounds), *agents[me + 1 :])
    )


def ended(state: State, me: int) -> State | None:
    """An agent ends before its next step, and a sweep follows.

    The broker lets go of its lock, and then locks and unlocks once, here under the same number.
    """
    if state.deaths == 0 or state.agents[me].step == "done":
        return None
    sweep = Agent("let go", 0, 2)
    agents = (*state.agents[:me], sweep, *state.agents[me + 1 :])
    return state._replace(deaths=state.deaths - 1, agents=agents)


def what_goes_wrong(agents: int, rounds: int, deaths: int, flaw: str) -> set[str]:
    """Explores every state that can be reached."""
    wrong = set()
    waiting = [State(0, 0, deaths, (Agent("try", 0, rounds),) * agents)]
    seen = set(waiting)
    while waiting:
        state = waiting.pop()
        following = [after(state, me, flaw) for me in range(agents)]
        inside = [me for me, agent in enumerate(state.agents) if agent.step == "inside"]
        if len(inside) > 1:
            wrong.add("two are inside")
        if not any(following):
            if any(agent.step == "asleep" for agent in state.agents):
                wrong.add("one sleeps forever")
            if state.lock or (state.sleepers and not deaths):
                wrong.add("something is left")
        following += [ended(state, me) for me in range(agents)]
        new = {step for step in following if step} - seen
        seen |= new
        waiting += new
    return wrong


ROUNDS_AND_DEATHS = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize(("rounds", "deaths"), ROUNDS_AND_DEATHS)
def test_three_threads_get_the_lock_in_turn_however_they_interleave(
    rounds: int, deaths: int
) -> None:
    """A-03: one at a time, and none sleeps forever, also where some end before any step."""
    assert what_goes_wrong(3, rounds, deaths, flaw="") == set()


@pytest.mark.parametrize(
    ("flaw", "wrong"),
    [
        ("it waits in any case", "one sleeps forever"),
        ("it is not counted", "one sleeps forever"),
        ("it lets go of any lock", "two are inside"),
    ],
)
def test_the_model_of_the_lock_shows_what_would_go_wrong(flaw: str, wrong: str) -> None:
    assert wrong in what_goes_wrong(3, 1, 1, flaw)
