"""Warnings belong to the case they were raised in, whatever other threads do."""

import threading
import warnings

import pytest

from RelAPETLib.errors import RelAPETWarning
from RelAPETLib.notices import collected, listening, warn


def test_two_threads_do_not_hear_each_other():
    heard: dict[str, list[str]] = {"a": [], "b": []}
    both_listen = threading.Barrier(2, timeout=10)

    def case(name: str) -> None:
        with listening([].append), collected(heard[name]):
            both_listen.wait()
            for number in range(100):
                warn(f"{name}{number}")
            both_listen.wait()

    threads = [threading.Thread(target=case, args=name) for name in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {name: [f"{name}{number}" for number in range(100)] for name in heard}


def test_without_a_listener_it_is_a_python_warning_that_names_the_caller():
    with pytest.warns(RelAPETWarning, match="odd") as caught:
        warn("odd")
    assert caught[0].filename == __file__


def test_collected_passes_on():
    outer, inner = [], []
    with listening(outer.append), collected(inner):
        warn("x")
    assert outer == inner == ["x"]
    with warnings.catch_warnings(), collected(inner):
        warnings.simplefilter("error", RelAPETWarning)
        with pytest.raises(RelAPETWarning, match="y"):
            warn("y")
    assert inner == ["x", "y"]
