"""Freed memory is kept while samples are drawn on a CPU, and given back by the last who leaves."""

import sys
import threading

import pytest
import torch

from RelAPETLib import devices
from RelAPETLib.synthesis.sampling import kept_memory as used_by_sampling


class Recorder:
    """A C library that writes down what it is told."""

    def __init__(self):
        self.told = []

    def mallopt(self, parameter, value):
        self.told.append((parameter, value))

    def malloc_trim(self, pad):
        self.told.append("trimmed")


def test_memory_is_kept_until_the_last_has_left(monkeypatch):
    libc = Recorder()
    monkeypatch.setattr(devices, "_glibc", lambda: libc)
    with devices.kept_memory():
        with pytest.raises(KeyError), devices.kept_memory():
            raise KeyError
        assert "trimmed" not in libc.told
    assert libc.told[-1] == "trimmed" and libc.told.count("trimmed") == 1
    assert dict(libc.told[-3:-1]) == {-1: 64 * 1024**2, -3: 32 * 1024**2}


def test_memory_is_as_ever_without_glibc(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with devices.kept_memory():
        assert torch.ones(3).sum() == 3


def test_threads_share_the_keeping():
    assert used_by_sampling is devices.kept_memory
    found = []

    def draw():
        with devices.kept_memory():
            found.append(torch.ones(1000).sum().item())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1000] * 4
