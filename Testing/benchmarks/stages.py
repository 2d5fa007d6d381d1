"""Seconds and peak memory of every stage of ``relapet demo``: ``python Testing/benchmarks/stages.py [demo options]``.

The demo runs in a process of its own, whose resident memory (with its children's) is read every 20 ms.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time

import psutil

INTERVAL_SECONDS = 0.02


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children; 0 once it is gone."""
    try:
        return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def stage_of(message: str) -> str:
    """Progress message without the numbers of samples and steps, so that all steps are one stage, and without paths."""
    message = re.sub(r" to [/\\\w].*[/\\].*$", "", message)
    return re.sub(r": step \d+ of \d+$", ": drawing", re.sub(r"sample\w* \d+( to \d+)? of \d+", "samples", message))


class Watch:
    """Reads a process's memory until `stop`; `turn` begins a new stage."""

    def __init__(self, process: psutil.Process):
        self.stages: dict[str, list[float]] = {}
        self._process, self._stage, self._since = process, "starting", time.perf_counter()
        self._peak, self._running, self._lock = 0, True, threading.Lock()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while self._running:
            size = resident_bytes(self._process)
            with self._lock:
                self._peak = max(self._peak, size)
            time.sleep(INTERVAL_SECONDS)

    def turn(self, stage: str) -> None:
        with self._lock:
            now, peak = time.perf_counter(), max(self._peak, resident_bytes(self._process))
            entry = self.stages.setdefault(self._stage, [0.0, 0.0])
            entry[0] += now - self._since
            entry[1] = max(entry[1], peak)
            self._stage, self._since, self._peak = stage, now, 0

    def stop(self) -> None:
        self.turn("")
        self._running = False
        self._thread.join()


def main() -> int:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "RelAPETLib", "demo", "--out", out, "--overwrite", "--progress", "json"]
        begin = time.perf_counter()
        process = subprocess.Popen([*command, *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
        watch = Watch(psutil.Process(process.pid))
        for line in process.stdout:
            content = json.loads(line)
            if content["type"] == "progress":
                watch.turn(stage_of(content["message"]))
        code = process.wait()
        watch.stop()
        total = time.perf_counter() - begin
    width = max(map(len, watch.stages))
    print(f"{'stage':<{width}}  seconds  peak MiB")
    for stage, (seconds, peak) in watch.stages.items():
        print(f"{stage:<{width}}  {seconds:7.1f}  {peak / 2**20:8.0f}")
    print(f"{'all':<{width}}  {total:7.1f}  {max(peak for _, peak in watch.stages.values()) / 2**20:8.0f}")
    return code


if __name__ == "__main__":
    sys.exit(main())
