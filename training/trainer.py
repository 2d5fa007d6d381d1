"""One training run: networks, optimisers, the stream of images, and the steps over them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from RelAPETLib.diffusion import NoiseSchedule

from . import checkpoints
from .config import TrainConfig, differences, flatten, layout
from .data.dataset import StreamSampler, build_loader
from .errors import EXIT_REQUEUE, DivergedError, ResumeError
from .faults import StopRequest
from .networks import MovingAverage, build_networks
from .reports import Report
from .schedules import learning_rate_share, total_steps, validates_at
from .sharding import load_model_state, load_optimizer_state, model_state, number, optimizer_state
from .sizes import check_shape
from .spaces import Space, VoxelSpace
from .steps import algorithm_1, objective
from .stream import draw, places
from .validation import validate


@dataclass(frozen=True)
class RunData:
    """What a run learns from: data sets of training and validation subjects, and the hash of who is where.

    An item has ``t1w``, ``t2f``, ``pet`` float32 [1, X, Y, Z] in [-1, 1], ``label``, ``subject`` and ``tracer``; in the
    latent variant what `training.latent.encoded.LatentDataset` says.
    """

    train: Dataset
    validation: Dataset | None
    split_sha256: str
    #: Give the training set (index, position) pairs, for its augmentation.
    draws: bool = False


@dataclass
class State:
    """What changes from step to step, apart from weights, optimisers and the position in the data."""

    step: int = 0
    best_psnr: float | None = None
    last_checkpoint: Path | None = None
    history: list[str] = field(default_factory=list)


class Trainer:
    """One run: networks, optimisers, stream of images, and the loop over them.

    Args:
        fabric: launched.
        space: where the diffusion happens; None for the voxels.
        quiet: no console.
        origin: of `training.origins.origin`, for the checkpoints.

    Raises:
        ConfigError: the layout does not make up the global batch.
        ResumeError: the folder holds a checkpoint of another configuration or split.
    """

    def __init__(
        self,
        fabric,
        config: TrainConfig,
        data: RunData,
        space: Space | None = None,
        quiet: bool = False,
        origin: dict[str, Any] | None = None,
    ):
        self.fabric, self.config, self.data, self.origin = fabric, config, data, origin or {}
        self.out = Path(config.out)
        self.accumulation = layout(config, fabric.world_size)
        preset = config.preset
        first = data.train[0]
        diffused = first["x0"] if "x0" in first else first["pet"]
        check_shape(config, tuple(diffused.shape[1:]), tuple(first.get("pet", diffused).shape[1:]))
        self.schedule = NoiseSchedule(kind=preset.beta_schedule)
        self.space: Space = space or VoxelSpace(config)
        generator, self.D = build_networks(config)
        self.G = fabric.setup_module(generator)
        self.optimizer_G = fabric.setup_optimizers(
            torch.optim.AdamW(
                self.G.parameters(),
                lr=preset.generator_learning_rate,
                weight_decay=config.run.weight_decay,
                fused=True,
            )
        )
        self.average = MovingAverage(self.G.parameters(), preset.ema_decay)
        if self.D is not None:
            # Not wrapped by Fabric: its penalty needs a backward pass within the forward pass, which neither DDP nor
            # fp16's loss scaling knows. It works in float32, and `average_gradients` does DDP's part.
            self.D.to(fabric.device)
            self.optimizer_D = torch.optim.Adam(self.D.parameters(), lr=preset.discriminator_learning_rate, fused=True)
        self.sampler = StreamSampler(
            len(data.train), seed=config.seed, rank=fabric.global_rank, ranks=fabric.world_size, draws=data.draws
        )
        self.steps = total_steps(config.run.steps, preset.epochs, len(data.train), preset.global_batch)
        self.state = State()
        self.resume()
        self.report = Report(self.out, self.state.step, self.steps, quiet) if fabric.is_global_zero else None

    # -- the loop ------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Images used by all ranks since the run began."""
        return self.sampler.epoch * self.sampler.size + self.sampler.position

    def train(self, stop: StopRequest) -> int:
        """Steps until the end or a request to stop; returns the exit code."""
        run, state = self.config.run, self.state
        loader = build_loader(
            self.data.train,
            self.sampler,
            batch_size=self.config.hardware.micro_batch,
            workers=self.config.data.workers,
            pin_memory=self.fabric.device.type == "cuda",
        )
        batches, used = iter(loader), 0
        judged = self.data.validation is not None and run.validation_volumes > 0
        while state.step < self.steps:
            terms, asked = self.step(batches, stop)
            used += self.config.preset.global_batch
            last = state.step == self.steps
            if self.report and (state.step % run.log_every == 0 or last):
                self.report.scalars(state.step, self.position / self.sampler.size, terms, used)
            if judged and validates_at(state.step, self.steps, run.validate_every):
                self.validate()
            if asked or last or state.step % run.checkpoint_every == 0:
                self.save()
            if asked and not last:
                self.say(f"asked to stop: saved after step {state.step}; the same command goes on from there")
                return EXIT_REQUEUE
        if self.report:
            self.report.close()
        return 0

    def step(self, batches, stop: StopRequest) -> tuple[dict[str, float], bool]:
        """One optimiser step of both players; its terms, mean over the global batch, and whether to stop."""
        weights = objective(self.config, self.position // self.sampler.size)
        # Here and not after the update: between them, the memory of gradients would go back to the system and come
        # again, page by page.
        self.optimizer_G.zero_grad()
        if self.D is not None:
            self.optimizer_D.zero_grad()
        results = []
        for turn in range(self.accumulation):
            with self.fabric.no_backward_sync(self.G, enabled=turn + 1 < self.accumulation):
                results.append(self.micro_step(next(batches), turn, weights))
        adversarial = "L_G" in results[0][1] or "L_R_D" in results[0][1]
        norms = self.gradient_norms(adversarial)
        names = list(results[0][1])
        means = torch.stack([torch.stack([terms[name] for name in names]) for _, terms in results]).double().mean(0)
        shared, asked = self.check(results, names, means, norms, stop)

        self.set_learning_rates()
        self.optimizer_G.step()  # Algorithm 1, line 16
        if adversarial:
            self.optimizer_D.step()  # Algorithm 1, line 17
        self.average.update()
        self.sampler.advance(self.config.preset.global_batch)
        self.state.step += 1
        return {**dict(zip(names, shared, strict=True)), **norms}, asked

    def set_learning_rates(self) -> None:
        """Both players' learning rates of this step."""
        run, preset = self.config.run, self.config.preset
        share = learning_rate_share(self.state.step, self.steps, run.warmup_steps, run.learning_rate)
        for group in self.optimizer_G.param_groups:
            group["lr"] = share * preset.generator_learning_rate
        for group in self.optimizer_D.param_groups if self.D is not None else ():
            group["lr"] = share * preset.discriminator_learning_rate

    def micro_step(self, batch: dict, turn: int, weights) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Forward and backward passes of one micro-batch; its subjects, and its terms."""
        count, device = len(batch["subject"]), self.fabric.device
        start = self.position + turn * count * self.fabric.world_size
        positions = places(start, self.fabric.global_rank, self.fabric.world_size, count)
        encoded = self.space.encode(batch, device)
        t, eps = draw(self.config.seed, positions, encoded.x0.shape[1:], self.schedule.num_timesteps, device)
        losses = algorithm_1(
            self.G,
            self.D,
            encoded.x0,
            encoded.mri,
            batch["label"].to(device),
            t,
            eps,
            self.schedule,
            weights,
            encoded.decode,
            encoded.image,
        )
        self.fabric.backward(losses.generator / self.accumulation, model=self.G)
        if losses.discriminator is not None:
            (losses.discriminator / self.accumulation).backward()
        names = [f"{who} ({tracer})" for who, tracer in zip(batch["subject"], batch["tracer"], strict=True)]
        return names, {"L": losses.generator.detach(), **losses.terms}

    def gradient_norms(self, adversarial: bool) -> dict[str, float]:
        """Norms of both players' gradients, clipped as configured."""
        largest = self.config.run.clip_gradients or math.inf
        norms = {"grad_G": self.fabric.clip_gradients(
            self.G, self.optimizer_G, max_norm=largest, error_if_nonfinite=False
        )}  # fmt: skip
        if adversarial:
            average_gradients(self.fabric, self.D)
            norms["grad_D"] = torch.nn.utils.clip_grad_norm_(self.D.parameters(), largest)
        return {name: number(norm) for name, norm in norms.items()}

    def check(self, results, names, means: torch.Tensor, norms: dict[str, float], stop) -> tuple[list[float], bool]:
        """The step's terms averaged over ranks, and whether any rank was asked to stop.

        Raises:
            DivergedError: a term or gradient of any rank is no number or too large; nothing was updated then.
        """
        limit = self.config.run.largest_loss
        # fp16 skips steps whose gradients overflow; they are no sign of anything.
        wild = self.config.hardware.precision != "fp16" and not all(map(math.isfinite, norms.values()))
        bad = wild or not bool((means.abs() <= limit).all())
        flags = means.new_tensor([bad, stop.asked])
        *sums, bad, asked = self.fabric.all_reduce(torch.cat([means.nan_to_num(), flags]), reduce_op="sum").tolist()
        if bad:
            raise DivergedError(self.diagnosis(results, names, norms, limit))
        return [value / self.fabric.world_size for value in sums], bool(asked)

    def diagnosis(self, results, names: list[str], norms: dict[str, float], limit: float) -> str:
        """What went wrong in this step, for whom, and where the last good checkpoint is."""
        wild = [[n for n in names if not abs(float(terms[n])) <= limit] for _, terms in results]
        lines = [
            f"{', '.join(f'{n} = {float(terms[n]):.3g}' for n in bad)} for {', '.join(subjects)}"
            for (subjects, terms), bad in zip(results, wild, strict=True)
            if bad
        ]
        everybody = ", ".join(who for subjects, _ in results for who in subjects)
        gradients = [f"{name} = {norm:.3g} for {everybody}" for name, norm in norms.items() if not math.isfinite(norm)]
        found: list[Any] = [(lines, gradients)] * self.fabric.world_size
        if self.fabric.world_size > 1:
            torch.distributed.all_gather_object(found, (lines, gradients))
        # A gradient is everyone's sum: whose it is, is known only when no loss tells.
        told = [line for theirs, _ in found for line in theirs] or [line for _, theirs in found for line in theirs]
        why, last = "; ".join(dict.fromkeys(told)), self.state.last_checkpoint or "none yet"
        return f"step {self.state.step + 1} diverged: {why}; last good checkpoint: {last}"

    def validate(self) -> None:
        """Judge the averaged weights on validation subjects; keep a copy of the best."""
        with self.average.in_place():
            result = validate(self.fabric, self.config, self.G, self.space, self.data.validation, self.schedule)
        step = self.state.step
        if self.report:
            self.report.record("validation", step, {"psnr": result.psnr, "mae": result.mae})
            self.report.pictures(step, "validation/t1w_t2f_pet_synthetic", result.pictures)
        self.say(f"validation after step {step}: PSNR {result.psnr:.2f} dB, MAE {result.mae:.4f}")
        if self.state.best_psnr is None or result.psnr > self.state.best_psnr:
            self.state.best_psnr = result.psnr
            self.write(self.out / checkpoints.FOLDER / checkpoints.BEST)

    def say(self, message: str) -> None:
        """A line on rank 0's console."""
        if self.report:
            self.report.say(message)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Checkpoint of this step; the oldest go."""
        path = checkpoints.path_of(self.out, self.state.step)
        self.write(path)
        self.state.last_checkpoint = path
        if self.fabric.is_global_zero:
            checkpoints.prune(self.out, self.config.run.keep_last)

    def write(self, path: Path) -> None:
        """Everything that the run is, to a file. All ranks call it, rank 0 writes."""
        rng: list[Any] = [checkpoints.rng_state()]
        if self.fabric.world_size > 1:
            rng = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(rng, checkpoints.rng_state())
        with self.average.in_place():
            average = model_state(self.G) if self.average.decay else {}
            average = {name: tensor.detach().clone() for name, tensor in average.items()}
        content = {
            "step": self.state.step,
            "best_psnr": self.state.best_psnr,
            "history": self.state.history,
            "config": flatten(self.config),
            "split_sha256": self.data.split_sha256,
            "sampler": self.sampler.state_dict(),
            "generator": model_state(self.G),
            "average": average,
            "optimizer_G": optimizer_state(self.G, self.optimizer_G),
            "discriminator": self.D.state_dict() if self.D is not None else {},
            "optimizer_D": self.optimizer_D.state_dict() if self.D is not None else {},
            "scaler": self.fabric.strategy.precision.state_dict(),
            "rng": rng,
            "frozen": self.space.frozen(),
            "origin": self.origin,
        }
        if self.fabric.is_global_zero:
            checkpoints.save(path, content)
        self.fabric.barrier()

    def resume(self) -> None:
        """Go on from the folder's newest checkpoint, if there is one and it belongs to this run."""
        found = checkpoints.latest(self.out)
        if found is None:
            return
        path, saved = found
        changed, allowed = differences(saved["config"], flatten(self.config))
        if changed:
            raise ResumeError(
                f"{self.out} holds a run of another configuration: {'; '.join(changed[:5])}; use another out"
            )
        if saved["split_sha256"] != self.data.split_sha256:
            raise ResumeError(
                f"{self.out} holds a run on another split: {saved['split_sha256'][:12]} -> "
                f"{self.data.split_sha256[:12]}; use another out, or the split it was trained on"
            )
        with checkpoints.restoring(path):
            self.sampler.load_state_dict(saved["sampler"])
            self.load_networks(saved)
            self.fabric.strategy.precision.load_state_dict(saved["scaler"])
            if len(saved["rng"]) == self.fabric.world_size:
                checkpoints.set_rng_state(saved["rng"][self.fabric.global_rank])
        history = [*saved["history"], *(f"step {saved['step']}: {line}" for line in allowed)]
        self.state = State(saved["step"], saved.get("best_psnr"), path, history)

    def load_networks(self, saved: dict[str, Any]) -> None:
        """Weights, moving average and optimisers of a checkpoint."""
        if self.average.decay:
            load_model_state(self.G, saved["average"])
            self.average = MovingAverage(self.G.parameters(), self.average.decay, saved["step"])
        load_model_state(self.G, saved["generator"])
        load_optimizer_state(self.G, self.optimizer_G, saved["optimizer_G"])
        if self.D is not None:
            self.D.load_state_dict(saved["discriminator"])
            self.optimizer_D.load_state_dict(saved["optimizer_D"])


def average_gradients(fabric, network: torch.nn.Module) -> None:
    """Mean over ranks of a small network's gradients, in one message."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad for p in network.parameters()]
    flat = fabric.all_reduce(torch.cat([g.reshape(-1) for g in gradients]), reduce_op="mean")
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
