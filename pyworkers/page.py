"""How Python in a hub talks with the JavaScript that started it: ``from pyworkers import page``."""

from pyworkers import _page_messages
from pyworkers._messages import DirectChannel
from pyworkers.errors import ModeError

__all__ = ["channel"]


def channel(name: str) -> DirectChannel:
    """Returns this side's end of a named channel to who holds the connection.

    The other end is ``py.channel`` of the same name, in JavaScript.

    Raises:
        ModeError: JavaScript holds no connection to this interpreter.
    """
    current = _page_messages.current
    if current is None:
        raise ModeError(
            "there is no page to talk with: only a hub of the script tag or of `connect` has one"
        )
    return current.channel(name)
