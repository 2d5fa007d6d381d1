"""What a run tells while it goes: console line, log file, TensorBoard. Rank 0 alone."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch

from RelAPETLib.jsonfiles import parse_json
from RelAPETLib.whole_files import write_whole

from .words import say

LOG = "log.jsonl"


class Report:
    """Console, ``OUT/log.jsonl`` (one JSON object a logged step) and ``OUT/tensorboard``.

    Args:
        out: folder of the run.
        step: where it starts or goes on; later entries of an interrupted run are forgotten.
        steps: where it ends.
        quiet: no console.
    """

    def __init__(self, out: Path, step: int, steps: int, quiet: bool = False):
        from torch.utils.tensorboard import SummaryWriter

        self.steps, self.started, self.first = steps, time.monotonic(), step
        self._quiet = quiet
        out.mkdir(parents=True, exist_ok=True)
        self._log = out / LOG
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        write_whole(self._log, "".join(f"{line}\n" for line in kept).encode())
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def say(self, message: str) -> None:
        """A line on the console."""
        if not self._quiet:
            say(message)

    def scalars(self, step: int, epoch: float, values: dict[str, float], images: int) -> None:
        """Losses after a step; `images` were used by all ranks since the run (re)started."""
        seconds = time.monotonic() - self.started
        rate = images / seconds
        left = seconds / max(step - self.first, 1) * (self.steps - step)
        terms = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.say(f"step {step}/{self.steps}  epoch {epoch:.2f}  {terms}  {rate:.3g} images/s  {clock(left)} left")
        self.record("train", step, {**values, "images_per_second": rate}, {"epoch": epoch})

    def record(self, group: str, step: int, values: dict[str, float], extra: dict[str, float] | None = None) -> None:
        """A line of the log, and curves."""
        with open(self._log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "group": group, **(extra or {}), **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)

    def pictures(self, step: int, name: str, volumes: list[torch.Tensor]) -> None:
        """Middle axial, coronal and sagittal planes of volumes [X, Y, Z] in [-1, 1], side by side."""
        self._board.add_image(name, montage(volumes), step)
        self._board.flush()

    def close(self) -> None:
        """Write out what is buffered."""
        self._board.close()


def _step_of(line: str) -> float:
    """Step of a line of the log; infinity for what a killed run or a full disk left of one."""
    try:
        return float(parse_json(line, numbers="null")["step"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return math.inf


def montage(volumes: list[torch.Tensor]) -> torch.Tensor:
    """Picture [1, H, W] in [0, 1]: a column a volume [X, Y, Z], its three middle planes below one another."""
    columns = []
    for volume in volumes:
        x, y, z = (n // 2 for n in volume.shape)
        planes = [plane.T.flip(0) for plane in (volume[:, :, z], volume[:, y], volume[x])]
        width = max(plane.shape[1] for plane in planes)
        padded = [torch.nn.functional.pad(p, (0, width - p.shape[1]), value=-1.0) for p in planes]
        columns.append(torch.cat(padded))
    return ((torch.cat(columns, 1)[None].float().cpu() + 1) / 2).clamp(0, 1)


def clock(seconds: float) -> str:
    """H:MM:SS."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
