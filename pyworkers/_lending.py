"""A hub's side of what a page shares with it: typed arrays over shared memory, and twins.

Owns what a view of shared memory stands for, in either direction: one of the arena, what the page
has copied there or an array of Python's; one of other memory, an array that the page has made. And
which objects the page has twins of. Knows nothing of messages.
"""

from abc import abstractmethod
from typing import Any, Final
from weakref import WeakValueDictionary

from pyworkers import _codec, _js, _store
from pyworkers._arena import SharedArena, is_beside
from pyworkers._shared_array import SIZES, SharedArray, attach
from pyworkers._store import ArenaStore, Block
from pyworkers.errors import ModeError

_PAGE: Final = 0x3FFFFFFE
"""The owner of what a page has copied into the arena, as in ``js_shim/arena.mjs``."""


class Lent(_codec.Handle):
    """A typed array that a page has copied into shared memory; a task gets it as a memoryview."""

    __slots__ = ("__weakref__", "_block", "_code", "_count", "_mode")

    def __init__(self, mode: str, block: Block, count: int, code: str) -> None:
        self._mode = mode
        self._block = block
        self._count = count
        self._code = code

    @property
    def id(self) -> int:
        return self._block.id

    @property
    def mode(self) -> str:
        return self._mode

    def reduced(self) -> tuple[Any, ...]:
        return _load, (self._mode, self.id, self._count, self._code)


def _load(mode: str, id: int, count: int, code: str) -> memoryview:
    store = _store.stores[mode]
    assert isinstance(store, ArenaStore)
    size = SIZES[code] * count
    return _codec.view(store.arena.read(id, 0, size, False), code, (count,))


class Twinned(_codec.Handle):
    """What a page sees by an object of its own."""

    __slots__ = ()

    @abstractmethod
    def twin(self) -> tuple[str, list[Any]]:
        """Returns what ``js_shim/twins.mjs`` makes of it, and its state, unless memory is shared.

        The state is the number of its changes, and its values.
        """


class PageTwins:
    """What a page was given and has not dropped."""

    def __init__(self) -> None:
        self._given: dict[int, tuple[_codec.Handle, int]] = {}

    def found(self, view: Any) -> Any:
        """Returns what something that came from the page stands for.

        Args:
            view: a ``Shared`` or ``Twin`` of ``js_shim/lending.mjs``.

        Raises:
            ValueError: it stands for nothing, or for a part of an array only.
        """
        given = self._given.get(view.id)
        if given is None:
            raise ValueError(f"nothing with number {view.id} was given to the page")
        return given[0]

    def view(self, value: Any) -> Any:
        """Returns what stands for a value in what the page is sent; None for plain data."""
        if not isinstance(value, Twinned):
            return None
        self._give(value)
        return _js.twin(value.id, *value.twin())

    def _give(self, value: _codec.Handle) -> None:
        _, times = self._given.get(value.id, (value, 0))
        self._given[value.id] = value, times + 1

    def drop(self, id: int) -> None:
        """Notes that the page has dropped what it was given once."""
        value, times = self._given.pop(id)
        if times > 1:
            self._given[id] = value, times - 1


class TabTwins(PageTwins):
    """The same of a tab that has its hub in common with others, and so no memory with it."""

    def view(self, value: Any) -> Any:
        if isinstance(value, SharedArray) or (
            isinstance(value, Twinned) and not value.twin()[1]  # its state is in shared memory
        ):
            raise ModeError(
                f"a {type(value).__name__} cannot be given to a page that has its hub in common "
                "with other tabs, as no memory can be shared among them: send what is in it, or "
                "connect without `tabs`"
            )
        return super().view(value)


class PageMemory(PageTwins):
    """The same where memory is shared.

    Args:
        mode: of the hub.
        store: of the hub.
        arena: the same as the store's.
    """

    def __init__(self, mode: str, store: ArenaStore, arena: SharedArena) -> None:
        super().__init__()
        self._mode = mode
        self._store = store
        self._arena = arena
        self._lent: WeakValueDictionary[int, Lent] = WeakValueDictionary()
        self._named: WeakValueDictionary[int, Block] = WeakValueDictionary()

    def found(self, view: Any) -> Any:
        if view.isTwin:
            return super().found(view)
        offset, count, code, name = view.offset, view.count, view.code, view.name
        if name:
            block = self._named.get(name)
            if block is None:
                block = self._named[name] = self._store.own(self._arena.add(view.buffer, name))
            return attach(self._mode, block.id, offset, (count,), code)
        return self._found_in_arena(offset, count, code)

    def _found_in_arena(self, offset: int, count: int, code: str) -> Lent | SharedArray:
        if offset in self._given:
            array = self._given[offset][0]
            if not isinstance(array, SharedArray) or array.size != count:
                raise ValueError("a part of a shared array cannot be passed: pass all of it")
            return array
        if offset in self._lent:
            return self._lent[offset]
        try:
            self._store.arena.hand(offset, _PAGE)
        except Exception as error:
            raise ValueError(
                "this view of shared memory is not one that Python gave to the page"
            ) from error
        lent = self._lent[offset] = Lent(self._mode, self._store.own(offset), count, code)
        return lent

    def view(self, value: Any) -> Any:
        if not isinstance(value, SharedArray):
            return super().view(value)
        if not is_beside(value.id):  # the page's own
            self._give(value)
        return value.page_view()
