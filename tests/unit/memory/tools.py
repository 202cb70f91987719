"""What the tests of refs, stores and shared arrays have in common."""

import copy
import gc
import pickle
from array import array
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
from hypothesis import strategies as st

from pyworkers import Ref, SharedArray, _codec, _store
from pyworkers._codec import SPILL_BYTES
from pyworkers._hub import hub_for
from pyworkers._shared_array import CODES
from pyworkers._store import ArenaStore

here: dict[str, Any] = {}
"""What tasks keep in this interpreter, for others and for their test."""


def store() -> ArenaStore:
    found = hub_for("inline").store
    assert isinstance(found, ArenaStore)
    return found


def blocks() -> int:
    """How many blocks this test has in use, once all garbage is gone."""
    gc.collect()
    return len(store().attached() - others)


others: set[int] = set()
"""Blocks of tests that failed, whose variables are still there to be looked at."""


COPIES: dict[str, Callable[[object], object]] = {
    "pickle": pickle.dumps,
    "cloudpickle": cloudpickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


VALUES: dict[str, Any] = {
    "None": None,
    "a number": 2**70,
    "text": "naïve",
    "a container": {"a": [1, (2.5, b"c")], (): {3}},
    "little bytes": b"abc",
    "many bytes": bytes(range(256)) * 200,
    "many bytes that can be changed": bytearray(range(256)) * 200,
    "a long pickle": ["x" * SPILL_BYTES, list(range(20_000))],
    "large parts of odd lengths": [bytes(SPILL_BYTES + n) for n in range(4)],
}


LARGE: dict[str, Any] = {
    "bytes": bytes(SPILL_BYTES),
    "bytearray": bytearray(SPILL_BYTES),
    "memoryview": memoryview(bytes(SPILL_BYTES)),
    "memoryview that can be changed": memoryview(bytearray(SPILL_BYTES)),
    "array": array("d", bytes(SPILL_BYTES)),
    "numpy": np.zeros(SPILL_BYTES, "int16"),
    "frozen numpy": np.frombuffer(bytes(SPILL_BYTES), "int16"),
}


def kept(mode: str, value: Any) -> Ref[Any]:
    return _store.keep(mode, _codec.encode(value))


def same(value: Any) -> Any:
    return value


async def wait_at_the_gate() -> None:
    await here["gate"].wait()


def keep_here(made: SharedArray) -> None:
    here["made"] = made


shapes = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)
ends = st.none() | st.integers(-7, 7)


FLOATS = [name for name in CODES if "float" in name]


def shared(values: Any) -> SharedArray:
    """A shared array with the shape, type and numbers of one of numpy's."""
    result = SharedArray(values.shape, values.dtype)
    result.write(values)
    return result


def listed(found: SharedArray | memoryview) -> Any:
    """The numbers of an array or a view, in lists."""
    return (found.read() if isinstance(found, SharedArray) else found).tolist()


def numbers(shape: tuple[int, ...], dtype: str = "int32") -> "np.ndarray[Any, Any]":
    """1, 2, 3 and so on."""
    return np.arange(1, np.prod(shape) + 1).astype(dtype).reshape(shape)
