"""How Python in a hub talks with the JavaScript that started it: ``from pyworkers import page``."""

from pyworkers import _page_messages
from pyworkers._messages import DirectChannel
from pyworkers.errors import ModeError

__all__ = ["channel"]


def channel(name: str) -> DirectChannel:
    """Returns this side's end of a named channel to who holds the connection.

    The other end is ``py.channel`` of the same name, in JavaScript. Where tabs share the hub, that
    of the tab whose source or message this is called for.

    Raises:
        ModeError: JavaScript holds no connection to this interpreter, or several tabs do and this
            is not called for one of them.
    """
    current = _page_messages.here.get() or _page_messages.current
    if current is None:
        raise ModeError(
            "there is no page to talk with: only a hub of the script tag or of `connect` has one, "
            "and one that tabs share only in what they run and send"
        )
    return current.channel(name)
