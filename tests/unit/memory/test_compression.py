"""Objects that are kept compressed."""

import gc
import random
from array import array
from typing import Any

import pytest

from pyworkers import SharedArray, WorkerPool
from pyworkers._codec import SPILL_BYTES
from tests.unit.memory.tools import same


@pytest.mark.parametrize("over", [0, 1000, None])
def test_what_is_kept_compressed_is_read_as_it_was(over: int | None) -> None:
    """B-17: each part as it was, those that can be written to as such."""
    value: dict[str, Any] = {
        "bytes": bytes(SPILL_BYTES),
        "bytearray": bytearray(b"ab" * SPILL_BYTES),
        "array": array("d", [0.5] * SPILL_BYTES),
        "list": [1, 2, 3] * 1000,
    }
    with WorkerPool() as pool:
        ref = pool.put(value, compress_over=over)
        found = ref.get()
        assert found == value
        assert [type(part) for part in found.values()] == [type(part) for part in value.values()]
        found["bytearray"][0] = 0
        assert ref.get() == value
        assert pool.submit(same, [ref]).result() == [value]
        memory = pool.memory()
        assert memory is not None
        if over is None:
            assert ref.stored == ref.size <= memory.used
            assert "compressed" not in repr(ref)
        else:
            assert ref.size > 5 * SPILL_BYTES > 20 * ref.stored
            assert memory.used < SPILL_BYTES
            assert f"{ref.size} bytes compressed to {ref.stored} (" in repr(ref)


def test_only_what_gets_smaller_is_compressed() -> None:
    """B-17"""
    noise = random.Random(7).randbytes(2 * SPILL_BYTES)
    with WorkerPool() as pool:
        ref = pool.put([noise], compress_over=0)
        assert ref.get() == [noise]
        assert 2 * SPILL_BYTES < ref.stored <= ref.size
        mixed = pool.put([noise, bytes(SPILL_BYTES)], compress_over=0)
        assert mixed.get() == [noise, bytes(SPILL_BYTES)]
        assert mixed.stored < mixed.size - SPILL_BYTES // 2
        small = pool.put(7, compress_over=0)
        assert small.get() == 7
        assert small.stored == small.size
        assert "compressed" not in repr(small)
        assert pool.put("a" * 999, compress_over=10_000).stored > 999


def test_what_is_compressed_may_refer_to_what_is_kept() -> None:
    """B-17"""
    with WorkerPool() as pool:
        numbers = SharedArray(3, "int32")
        value: list[Any] = [[numbers] * 2, "text " * 10_000]
        ref = pool.put(value, compress_over=100)
        found = ref.get()
        found[0][0][1] = 5
        assert numbers[1] == 5
        del numbers, found, value
        gc.collect()
        assert ref.get()[0][0][1] == 5


def test_a_threshold_below_zero_is_refused() -> None:
    """B-17"""
    with WorkerPool() as pool, pytest.raises(ValueError, match="0 bytes or more, not -1"):
        pool.put(1, compress_over=-1)
