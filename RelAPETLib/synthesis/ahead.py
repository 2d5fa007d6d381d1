"""Work in a thread of its own while the caller does other work: a model loads while scans are read and registered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from ..errors import RelAPETError
from ..notices import collected, listening, warn

Result = TypeVar("Result")


class Ahead(Generic[Result]):
    """A computation that has begun in another thread.

    What it would tell the user waits until `result`, which tells it in the caller's thread: two threads never write at
    once. The thread is a daemon: a program that ends for another reason does not wait for it.

    Args:
        compute: takes nothing; may raise and `warn`.
    """

    def __init__(self, compute: Callable[[], Result]):
        self._compute, self._said, self._told = compute, [], False
        self._value: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="relapet-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with listening(self._said.append):
                self._value = self._compute()
        except BaseException as error:  # raised again in the caller's thread
            self._error = error

    def done(self) -> bool:
        """Whether `result` answers at once."""
        return not self._thread.is_alive()

    def result(self) -> Result:
        """Wait for the end; what was computed. Raises what the computation raised."""
        self._thread.join()
        if not self._told:
            self._told = True
            for message in self._said:
                warn(message)
        if self._error is not None:
            raise self._error
        return self._value


class Awaited:
    """What is made of a computation ahead, as soon as it is there: what is wrong with it ends the other work early.

    Args:
        ahead: the computation.
        settle: judges its result, in the caller's thread; `get` returns what it returns.
        said: gets what either has to say.
    """

    def __init__(self, ahead: Ahead, settle: Callable[[Any], Any], said: list[str]):
        self._ahead, self._settle, self._said = ahead, settle, said
        self._settled, self._value = False, None

    def get(self) -> Any:
        """Wait for it. Raises what the computation or `settle` raises."""
        if not self._settled:
            with collected(self._said):
                self._value = self._settle(self._ahead.result())
            self._settled = True
        return self._value

    def watched(self, progress: Callable[[float, str], None]) -> Callable[[float, str], None]:
        """The progress callback of other work, which raises here what `get` raises once that is known."""

        def report(fraction: float, message: str) -> None:
            progress(fraction, message)
            if not self._settled and self._ahead.done():
                self.get()

        return report

    @contextlib.contextmanager
    def before_other_errors(self) -> Iterator[None]:
        """Where other work is refused, tell what is wrong here first: that does not depend on which was quicker."""
        try:
            yield
        except RelAPETError:
            self.get()
            raise
