"""Work of one scan beside that of another."""

from __future__ import annotations

import threading

import pytest
import torch

from RelAPETLib.errors import InputError
from RelAPETLib.notices import listening, warn
from RelAPETLib.registration.beside import beside, one_core_less, shared


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def threads_of_a_new_thread() -> int:
    found = []
    new = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    new.start()
    new.join()
    return found[0]


def test_results_come_once_and_from_another_thread_where_there_are_two(threads):
    calls = []
    with beside() as start:
        first, second = (start(lambda n=n: calls.append(n) or (n, threading.get_ident())) for n in (1, 2))
        assert first()[0] == 1 and second()[0] == 2
        assert first() == first() and calls == [1, 2]
        assert (first()[1] != threading.get_ident()) is (threads > 1)


def test_an_error_is_raised(threads):
    def refuse():
        raise InputError("no head")

    with beside() as start, pytest.raises(InputError, match="no head"):
        start(refuse)()


def test_of_two_errors_the_same_is_told(threads):
    def refuse(what):
        raise InputError(f"no head in the {what}")

    with pytest.raises(InputError, match="T1w"), beside() as start:
        wanted = start(lambda: refuse("T2F"))
        refuse("T1w")
        wanted()


@pytest.mark.parametrize("threads", [1], indirect=True)
def test_an_interrupt_does_not_wait(threads):
    def interrupt():
        raise KeyboardInterrupt

    with beside() as start, pytest.raises(KeyboardInterrupt):
        start(interrupt)


@pytest.mark.parametrize("threads", [1], indirect=True)
def test_one_thread_computes_at_once(threads):
    calls = []
    with beside() as start:
        start(lambda: calls.append(1))
        assert calls == [1]


def test_warnings_reach_who_listens(threads):
    said = []
    with listening(said.append), beside() as start:
        start(lambda: warn("odd"))()
    assert said == ["odd"]


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_torch_has_one_thread_beside_and_all_of_them_elsewhere(threads):
    with beside() as start:
        assert start(torch.get_num_threads)() == 1 and torch.get_num_threads() == 2
        assert threads_of_a_new_thread() == 2
    assert torch.get_num_threads() == 2 and threads_of_a_new_thread() == 2


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_an_error_leaves_what_has_not_begun(threads):
    begun, go, calls = threading.Event(), threading.Event(), []
    with pytest.raises(KeyboardInterrupt), beside() as start:
        start(lambda: (begun.set(), go.wait(20), calls.append("under way")))
        start(lambda: calls.append("queued"))
        assert begun.wait(20)
        threading.Timer(0.3, go.set).start()
        raise KeyboardInterrupt
    assert calls == ["under way"]


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_it_goes_on_while_the_caller_works(threads):
    here, there = threading.Event(), threading.Event()
    with beside() as start:
        wanted = start(lambda: (there.set(), here.wait(20))[1])
        assert there.wait(20)
        here.set()
        assert wanted()


def test_items_are_shared_and_come_in_their_order(threads):
    made = []

    def make():
        made.append([])
        return lambda item, mine=made[-1]: mine.append(threading.get_ident()) or 10 * item

    with beside() as start:
        assert shared(start, make, [3, 1, 2, 5, 4]) == [30, 10, 20, 50, 40]
        assert shared(start, make, []) == []
    assert list(map(len, made)) == [3, 2, 0, 0]
    assert (made[0][0] != made[1][0]) is (threads > 1)


def test_one_core_is_left_and_taken_back(threads):
    with pytest.raises(InputError):
        with one_core_less():
            assert torch.get_num_threads() == max(1, threads - 1)
            raise InputError("no head")
    assert torch.get_num_threads() == threads


def test_a_thread_that_begins_meanwhile_has_all_cores(threads):
    with one_core_less():
        assert threads_of_a_new_thread() == threads
        assert torch.get_num_threads() == max(1, threads - 1)
    assert threads_of_a_new_thread() == threads
