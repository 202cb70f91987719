"""The scheduler at a scale that no browser reaches, in simulated time."""

import pytest

from pyworkers._policies import AGEING_SECONDS, MAX_PRIORITY, as_policy
from pyworkers._scaling import Scaler
from tests.unit.simulator import Simulation

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(("tasks", "workers", "seed"), [(1_000_000, 1_000, 1), (100_000, 100, 2)])
def test_a_million_tasks_on_a_thousand_workers_each_end_once(
    tasks: int, workers: int, seed: int
) -> None:
    """D-09, C-06: workers crash and start slowly, tasks are cancelled, delayed and parked; nothing
    is lost or given twice, and all is in order within a priority. Takes about 15 s."""
    outcome = Simulation(tasks, workers, seed).run()
    assert outcome.done + outcome.lost + outcome.cancelled == tasks
    assert outcome.crashes > tasks / 5000
    assert outcome.starts >= workers + outcome.lost / 4
    assert outcome.moved > 0


def test_none_starves_while_more_comes_than_can_be_done() -> None:
    """C-06: the lowest priority waits at most 100 s longer than the highest."""
    outcome = Simulation(100_000, 2, seed=3, load=1.5, faults=0.0).run()
    advantage = MAX_PRIORITY * AGEING_SECONDS
    assert outcome.seconds > 3 * advantage, "long enough to tell"
    assert outcome.longest[0] > outcome.longest[MAX_PRIORITY] + advantage / 2
    assert outcome.longest[0] <= outcome.longest[MAX_PRIORITY] + advantage + 1.0


@pytest.mark.parametrize("policy", ["fifo", "deadline", "round_robin", "least_loaded"])
def test_each_policy_loses_nothing(policy: str) -> None:
    """C-06"""
    outcome = Simulation(10_000, 20, 4, policy=as_policy(policy), bound=0.2).run()
    assert outcome.done > 9_900


def test_tasks_that_are_bound_to_workers_end_too() -> None:
    """B-18: homes crash, and workers that are idle for a moment end."""
    outcome = Simulation(20_000, 20, 5, bound=0.5, faults=0.005, scaler=Scaler(2, 0.2)).run()
    assert outcome.crashes > 50
    assert outcome.done + outcome.lost + outcome.cancelled == 20_000
