"""One run: the players of an objective, the stream of images, and the steps over them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from . import checkpoints
from .config import differences, replaced, upgraded
from .data.dataset import StreamSampler, build_loader
from .errors import EXIT_REQUEUE, DivergedError, ResumeError
from .faults import StopRequest
from .methods.base import COUNTS, Objective, Place, Terms
from .mixed_precision import PlayersPrecision
from .plans import Plan
from .players import TrainedPlayer
from .precision import exact
from .reports import Report
from .schedules import learning_rate_share, total_steps, validates_at
from .stream import dropped, places, without_some_t2f
from .validation import fixed_subset, spread, validate

#: Steps in a row that float16 can overflow in, from a scale of 65536 down to one of 2e-8, before it is given up.
MOST_OVERFLOWS = 40


@dataclass(frozen=True)
class RunData:
    """What a run learns from: data sets of training and validation subjects, and hashes of who and what is where.

    An item has ``subject`` and perhaps ``tracer`` (words), and what the objective takes: of a `PetDataset` ``t1w``,
    ``t2f``, ``pet`` float32 [1, X, Y, Z] in [-1, 1] and ``label``.
    """

    train: Dataset
    validation: Dataset | None
    split_sha256: str
    #: Give the training set (index, position) pairs, for its augmentation.
    draws: bool = False
    #: Of the cache; empty for data that are not of one.
    volumes_sha256: str = ""


@dataclass
class State:
    """What changes from step to step, apart from the players and the position in the data."""

    step: int = 0
    best_psnr: float | None = None
    validated: int = 0
    last_checkpoint: Path | None = None
    history: list[str] = field(default_factory=list)


class Trainer:
    """The loop over an objective's players, for a training and for stages before it.

    Args:
        fabric: launched.
        data: what the objective's batches are made of.
        plan: a whole number of micro-batches of all ranks make up its batch.
        quiet: no console.
        origin: of `training.origins.origin`, for the checkpoints.

    Attributes:
        players: by name, each with its optimiser and moving average.

    Raises:
        ResumeError: the folder holds a checkpoint of another configuration, split or cache.
    """

    def __init__(
        self,
        fabric,
        objective: Objective,
        data: RunData,
        plan: Plan,
        quiet: bool = False,
        origin: dict[str, Any] | None = None,
    ):
        self.fabric, self.objective, self.data, self.plan, self.origin = fabric, objective, data, plan, origin or {}
        self.accumulation = plan.batch // (plan.micro_batch * fabric.world_size)
        self.players = {
            name: TrainedPlayer(fabric, player, plan.mode, plan.compiled) for name, player in objective.build().items()
        }
        objective.bind(fabric, {name: trained.module for name, trained in self.players.items()})
        self.sampler = StreamSampler(
            len(data.train), seed=plan.seed, rank=fabric.global_rank, ranks=fabric.world_size, draws=data.draws
        )
        self.state = State()
        self.resume()
        self.report = Report(plan.out, self.state.step, self.plan.steps, quiet) if fabric.is_global_zero else None

    # -- the loop ------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Images used by all ranks since the run began."""
        return self.sampler.epoch * self.sampler.size + self.sampler.position

    def train(self, stop: StopRequest) -> int:
        """Steps until the end or a request to stop; returns the exit code."""
        plan, state, used = self.plan, self.state, 0
        batches = self.batches() if state.step < plan.steps else None
        if state.step and self.is_judged(state.step) and state.validated < state.step:
            if not self.validate(stop):  # what the run was asked to stop before
                return self.stopped()
            if state.step == plan.steps:
                self.save()
        while state.step < plan.steps:
            terms, asked = self.step(batches, stop)
            used += plan.batch
            last = state.step == plan.steps
            if self.report and (state.step % plan.log_every == 0 or last):
                self.report.scalars(state.step, self.position / self.sampler.size, terms, used)
            judged = self.is_judged(state.step)
            if judged and not asked:  # whoever asks does not wait for long
                asked = not self.validate(stop)
            if asked or last or state.step % plan.checkpoint_every == 0:
                self.save()
            if asked and (judged or not last):
                return self.stopped()
        if self.report:
            self.report.close()
        return 0

    def stopped(self) -> int:
        """Say that the run, whose checkpoint of this step is there, was asked to stop; returns the exit code."""
        of = f" of the {self.plan.name}" if self.plan.name else ""
        self.say(f"asked to stop: saved after step {self.state.step}{of}; the same command goes on from there")
        return EXIT_REQUEUE

    def is_judged(self, step: int) -> bool:
        """Whether there is a validation after a step."""
        there = self.data.validation is not None and self.plan.validation_volumes > 0
        return there and validates_at(step, self.plan.steps, self.plan.validate_every)

    def batches(self):
        """Endless batches from where the sampler is."""
        return iter(
            build_loader(
                self.data.train,
                self.sampler,
                batch_size=self.plan.micro_batch,
                workers=self.plan.workers,
                pin_memory=self.fabric.device.type == "cuda",
            )
        )

    def step(self, batches, stop: StopRequest) -> tuple[dict[str, float], bool]:
        """One optimiser step of all players that learn; its terms, mean over the batch, and whether to stop."""
        epoch = self.position // self.sampler.size
        # Here and not after the update: between them, the memory of gradients would go back to the system and come
        # again, page by page.
        for trained in self.players.values():
            trained.optimizer.zero_grad()
        results = []
        for turn in range(self.accumulation):
            with ExitStack() as unshared:
                for trained in self.players.values():
                    if trained.player.wrapped and turn + 1 < self.accumulation:
                        unshared.enter_context(self.fabric.no_backward_sync(trained.module))
                results.append(self.micro_step(next(batches), turn, epoch))
        learning = [self.players[name] for name in results[0][2]]
        norms = {f"grad_{name}": self.players[name].gradient_norm() for name in results[0][2]}
        names = list(results[0][1])
        means = exact(torch.stack([torch.stack([terms[name] for name in names]) for _, terms, _ in results])).mean(0)
        shared, asked = self.check(results, names, means, norms, stop)

        share = learning_rate_share(self.state.step, self.plan.steps, self.plan.warmup_steps, self.plan.learning_rate)
        for trained in self.players.values():
            trained.set_learning_rate(share)
        for trained in learning:
            trained.step()
        if isinstance(precision := self.fabric.strategy.precision, PlayersPrecision):
            precision.settle()
            if precision.overflows >= MOST_OVERFLOWS:
                self.save()  # whose gradients overflowed was not updated: what was learned before is there
                raise DivergedError(self.overflown())
        for trained in self.players.values():
            trained.average.update()
        self.sampler.advance(self.plan.batch)
        self.state.step += 1
        return {**dict(zip(names, shared, strict=True)), **norms}, asked

    def micro_step(self, batch: dict, turn: int, epoch: int) -> tuple[list[str], Terms, list[str]]:
        """Forward and backward passes of one micro-batch; its subjects, its terms, and who learned."""
        count = len(batch["subject"])
        start = self.position + turn * count * self.fabric.world_size
        positions = places(start, self.fabric.global_rank, self.fabric.world_size, count)
        if self.plan.drop_t2f:
            batch = without_some_t2f(batch, dropped(self.plan.seed, positions, self.plan.drop_t2f))
        losses, terms = self.objective.losses(batch, Place(self.state.step, epoch, positions))
        for name, loss in losses.items():
            self.players[name].backward(loss / self.accumulation)
        tracers = batch.get("tracer", [""] * count)
        names = [f"{who} ({tracer})" if tracer else who for who, tracer in zip(batch["subject"], tracers, strict=True)]
        return names, terms, list(losses)

    def check(self, results, names, means: torch.Tensor, norms: dict[str, float], stop) -> tuple[list[float], bool]:
        """The step's terms averaged over ranks, and whether any rank was asked to stop.

        Raises:
            DivergedError: a term or gradient of any rank is no number or too large; nothing was updated then.
        """
        limit = means.new_tensor([self._limit(name) for name in names])
        wild = not self.plan.skips_overflow and not all(map(math.isfinite, norms.values()))
        bad = wild or not bool((means.abs() <= limit).all())
        flags = means.new_tensor([bad, stop.asked])
        *sums, bad, asked = self.fabric.all_reduce(torch.cat([means.nan_to_num(), flags]), reduce_op="sum").tolist()
        if bad:
            raise DivergedError(self.diagnosis(results, names, norms))
        return [value / self.fabric.world_size for value in sums], bool(asked)

    def _limit(self, name: str) -> float:
        """The largest value that a term may have."""
        return math.inf if name in COUNTS else self.plan.largest_loss

    def diagnosis(self, results, names: list[str], norms: dict[str, float]) -> str:
        """What went wrong in this step, for whom, and where the last good checkpoint is."""
        wild = [[n for n in names if not abs(float(terms[n])) <= self._limit(n)] for _, terms, _ in results]
        lines = [
            f"{', '.join(f'{n} = {float(terms[n]):.3g}' for n in bad)} for {', '.join(subjects)}"
            for (subjects, terms, _), bad in zip(results, wild, strict=True)
            if bad
        ]
        everybody = ", ".join(who for subjects, _, _ in results for who in subjects)
        gradients = [f"{name} = {norm:.3g} for {everybody}" for name, norm in norms.items() if not math.isfinite(norm)]
        found: list[Any] = [(lines, gradients)] * self.fabric.world_size
        if self.fabric.world_size > 1:
            torch.distributed.all_gather_object(found, (lines, gradients))
        # A gradient is everyone's sum: whose it is, is known only when no loss tells.
        told = [line for theirs, _ in found for line in theirs] or [line for _, theirs in found for line in theirs]
        why, last = "; ".join(dict.fromkeys(told)), self.state.last_checkpoint or "none yet"
        of = f" of the {self.plan.name}" if self.plan.name else ""
        return f"step {self.state.step + 1}{of} diverged: {why}; last good checkpoint: {last}"

    def overflown(self) -> str:
        """What to do about steps that float16 cannot take."""
        last = self.state.last_checkpoint
        return (
            f"step {self.state.step + 1}: gradients overflowed float16 in {MOST_OVERFLOWS} steps in a row, whatever "
            f"the losses' scale; go on with hardware.precision=bf16 or fp32, which have the range, from {last}"
        )

    def validate(self, stop: StopRequest | None = None) -> bool:
        """Judge the averaged weights on validation subjects; keep a copy of the best. False: asked to stop before that.

        Args:
            stop: looked at before each volume; None: it is not to be stopped.
        """
        numbers = checkpoints.rng_state()
        with ExitStack() as averaged:
            for trained in self.players.values():
                averaged.enter_context(trained.average.in_place())
            result = validate(
                self.fabric, self.objective, self.data.validation, self.plan.validation_volumes, self.plan.seed, stop
            )
        if result is None:
            checkpoints.set_rng_state(numbers)  # it begins anew
            return False
        step = self.state.validated = self.state.step
        if self.report:
            self.report.record("validation", step, {"psnr": result.psnr, "mae": result.mae})
            self.report.pictures(step, "validation/t1w_t2f_pet_synthetic", result.pictures)
        self.say(f"validation after step {step}: PSNR {result.psnr:.2f} dB, MAE {result.mae:.4f}")
        if not math.isfinite(result.psnr):
            self.say("a PSNR that is no number is never the best; no copy of these weights is kept")
        elif self.state.best_psnr is None or result.psnr > self.state.best_psnr:
            self.state.best_psnr = result.psnr
            self.write(self._best)
        return True

    def say(self, message: str) -> None:
        """A line on rank 0's console."""
        if self.report:
            self.report.say(message)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Checkpoint of this step; the oldest go."""
        path = checkpoints.path_of(self.plan.out, self.state.step)
        self.write(path)
        self.state.last_checkpoint = path
        if self.fabric.is_global_zero:
            checkpoints.prune(self.plan.out, self.plan.keep_last)

    def write(self, path: Path) -> None:
        """Everything that the run is, to a file. All ranks call it, rank 0 writes."""
        rng: list[Any] = [checkpoints.rng_state()]
        if self.fabric.world_size > 1:
            rng = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(rng, checkpoints.rng_state())
        content = {
            "step": self.state.step,
            "best_psnr": self.state.best_psnr,
            "validated": self.state.validated,
            "history": self.state.history,
            "config": self.plan.identity,
            "split_sha256": self.data.split_sha256,
            "volumes_sha256": self.data.volumes_sha256,
            "sampler": self.sampler.state_dict(),
            "players": {name: trained.state() for name, trained in self.players.items()},
            "objective": self.objective.state(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "rng": rng,
            "origin": self.origin,
        }
        if self.fabric.is_global_zero:
            checkpoints.save(path, content)
        self.fabric.barrier()

    def resume(self) -> None:
        """Go on from the folder's newest checkpoint, if there is one and it belongs to this run."""
        found = checkpoints.latest(self.plan.out)
        if found is None:
            return
        path, saved = found
        if path != (newest := checkpoints.saved(self.plan.out)[-1]):
            self.fabric.print(f"{newest.name} is damaged; goes on from {path.name}")
        if self.plan.name:
            unsaid = {key: self.plan.identity[key] for key in self.plan.unsaid}
            before = unsaid | replaced(saved["config"])
        else:
            before = upgraded(saved["config"], type(self.objective.config))
        changed, allowed = differences(before, self.plan.identity, self.plan.free)
        if changed:
            raise ResumeError(
                f"{self.plan.out} holds a run of another configuration: {'; '.join(changed[:5])}; use another out"
            )
        if saved["split_sha256"] != self.data.split_sha256:
            raise ResumeError(
                f"{self.plan.out} holds a run on another split: {saved['split_sha256'][:12]} -> "
                f"{self.data.split_sha256[:12]}; use another out, or the split it was trained on"
            )
        doubt = checkpoints.check_cache(path, saved, self.data.volumes_sha256)
        with checkpoints.restoring(path):
            self.sampler.load_state_dict(saved["sampler"])
            for name, trained in self.players.items():
                trained.load_state(saved["players"][name], saved["step"])
            self.objective.load_state(saved["objective"])
            self.fabric.strategy.precision.load_state_dict(saved["scaler"])
            if len(saved["rng"]) == self.fabric.world_size:
                checkpoints.set_rng_state(saved["rng"][self.fabric.global_rank])
        for line in [*(f"goes on with another {line}" for line in allowed), *doubt]:
            self.fabric.print(line)
        history = [*saved["history"], *(f"step {saved['step']}: {line}" for line in [*allowed, *doubt])]
        best = saved.get("best_psnr")
        # Earlier versions took a first PSNR of NaN as the best, which no other exceeds.
        best = best if isinstance(best, float) and math.isfinite(best) else None
        others = any(before.get(key) != self.plan.identity.get(key) for key in self.plan.judging)
        if best is not None and (others or "validated" not in saved and self._judges_others()):
            self._set_best_aside(saved["step"])
            best = None
        elif best is not None and not self.fabric.broadcast(self._best.exists()):
            self.fabric.print(f"{self._best.name} is gone; the next validation makes another")
            best = None
        # Earlier versions never saved before a validation that was due.
        self.state = State(saved["step"], best, saved.get("validated", saved["step"]), path, history)
        if self.plan.images:
            steps = total_steps(0, 1, self.plan.images, self.plan.batch, saved["step"], self.position)
            self.plan = replace(self.plan, steps=steps)

    def _judges_others(self) -> bool:
        """Whether earlier versions, which did not see to the tracers, validated with other volumes."""
        held_out, volumes = self.data.validation, self.plan.validation_volumes
        return held_out is not None and fixed_subset(held_out, volumes) != spread(len(held_out), volumes)

    @property
    def _best(self) -> Path:
        return self.plan.out / checkpoints.FOLDER / checkpoints.BEST

    def _set_best_aside(self, step: int) -> None:
        """Keep the best weights under another name: those to come are validated in another way."""
        best = self._best
        aside = best.with_name(f"best-until-{step:08d}.pt")
        if self.fabric.is_global_zero and best.exists() and not aside.exists():
            best.replace(aside)
            self.fabric.print(
                f"validations from here on cannot be compared with those before; {best.name} is kept as {aside.name}"
            )
