"""How a page without shared memory follows what the hub has: asked by ``js_shim/twins.mjs``.

Owns the services of one channel. Each answer to a change is the state after it, and one asked for
the next change gets it when there is one: so no more is sent than is asked for.
"""

from typing import Any, Final

from pyworkers._answers import SERVICES, Message
from pyworkers.sync._hosted import found
from pyworkers.sync._local_values import Followed, State

_CHANNEL: Final = "pyworkers.twins"
_HUB: Final = 0


def _followed(number: int) -> Followed:
    primitive = found(number)
    if not isinstance(primitive, Followed):
        raise TypeError(f"number {number} cannot be followed")
    return primitive


def _act(message: Message) -> tuple[Followed, Any]:
    number, operation, given = message.payload
    primitive = _followed(number)
    if operation not in primitive.OPERATIONS:
        raise ValueError(f"{operation!r} is no operation of number {number}")
    values = [int(value) for value in given]  # a BigInt has a type of its own
    return primitive, getattr(primitive, operation)(_HUB, *values)


def _tell(message: Message) -> State:
    return _act(message)[0].state(_HUB)


def _ask(message: Message) -> Any:
    return _act(message)[1]


async def _changed(message: Message) -> State:
    number, known = message.payload
    return await _followed(number).changed(_HUB, int(known))


for serve in (_tell, _ask, _changed):
    SERVICES[_CHANNEL, serve.__name__[1:]] = serve
