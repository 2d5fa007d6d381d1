"""Memory of the machine that this process can have: what is free, within the limits of containers and Slurm."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

#: Where Linux shows control groups, by version, and the names of a group's limit and use in it.
GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def control_group_memory(own: str = "/proc/self/cgroup", groups: tuple = GROUPS, *, at_most: bool = False) -> float:
    """Bytes left to this process by the control groups it is in, infinite without one that limits it.

    Files that the system keeps in memory until it is wanted do not count as used; `at_most`, nothing does but what
    processes have made there.
    """
    folders = _folders(own, groups)
    return min((_left_in(folder, limit, used, at_most) for folder, limit, used in folders), default=math.inf)


def control_group_swap(own: str = "/proc/self/cgroup", groups: tuple = GROUPS) -> float:
    """Bytes that this process's control groups let it have on what the system swaps to, infinite without a limit."""
    return min((_swap_in(folder, limit) for folder, limit, _used in _folders(own, groups)), default=math.inf)


def _folders(own: str, groups: tuple) -> Iterator[tuple[Path, str, str]]:
    """Every group that this process is in, the inner ones first, with the names of its limit and use."""
    try:
        lines = Path(own).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, limit, used = groups[0 if controllers == "" else 1]
        place = Path(root) / path.strip("/")
        # In a container the path may be the host's; its own group is then the root.
        for folder in (place, *place.parents):
            yield folder, limit, used
            if folder == Path(root):
                break


def _swap_in(folder: Path, limit: str) -> float:
    """What a group has left of swap. Version 1 tells it with the memory, and its use of the two together."""

    def number(name: str) -> int:
        return int((folder / name).read_text())

    try:
        if limit == "memory.max":
            return max(0, number("memory.swap.max") - number("memory.swap.current"))
        return max(0, number("memory.memsw.limit_in_bytes") - number(limit))
    except (OSError, ValueError):  # "max", or a system that does not count it
        return math.inf


def _left_in(folder: Path, limit: str, used: str, at_most: bool) -> float:
    try:
        most, taken = (folder / limit).read_text().strip(), int((folder / used).read_text())
        lines = [line.split() for line in (folder / "memory.stat").read_text().splitlines()]
        facts = {name: int(number) for name, number in lines}
    except (OSError, ValueError):
        return math.inf
    if not most.isdigit():  # "max"
        return math.inf
    # Version 1 tells "total_" figures of a group with those in it; without the word they are of the group alone.
    if at_most:
        made = facts.get("total_rss", facts.get("anon"))
        return math.inf if made is None else max(0, int(most) - made)
    return max(0, int(most) - taken + facts.get("total_inactive_file", facts.get("inactive_file", 0)))


def free_host_bytes() -> float:
    """Bytes of memory that a new computation can have; a limit of this process's control group counts."""
    import psutil

    return min(psutil.virtual_memory().available, control_group_memory())


def most_memory() -> float:
    """Bytes that a new computation can have on the CPU at the very most, the slow ones of a disk among them.

    Infinite where the system makes room as it needs it: macOS and Windows enlarge what they swap to.
    """
    import psutil

    if not sys.platform.startswith("linux"):
        return math.inf
    swap = min(psutil.swap_memory().free, control_group_swap())
    return min(psutil.virtual_memory().available, control_group_memory(at_most=True)) + swap
