"""The best methods of the bench once more on blocks of 4 mm, with four times the budget, as bundles to install."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from RelAPETLib.errors import InputError
from RelAPETLib.models import verify_bundle
from RelAPETLib.whole_files import write_whole

from .. import checkpoints
from ..data.cache import canonical_json, open_cache
from ..data.split import FILE, load_split
from ..errors import DivergedError
from ..words import say
from .people import TRAIN_SEED, rendered, subset
from .runs import check_begun, paces, plain, train
from .settings import COMMON, FACTOR, SETTINGS, Setting, lengths, overrides

#: Side of a block, and how many times the bench's minutes a training gets.
FINE, TIMES = 4, 4
#: The even part of 40 x 45 x 40 blocks that networks with levels can halve; 2 mm of the brain's front and back are cut.
CROP = "network.crop=[40,44,40]"
#: What is told otherwise than on the bench, for all methods.
CHANGED = {
    f"network.factor={FACTOR}": f"network.factor={FINE}",
    "preset.global_batch=16": "preset.global_batch=4",
    "hardware.micro_batch=16": "hardware.micro_batch=4",
    "autoencoder.batch=16": "autoencoder.batch=4",
    "autoencoder.blocks=2": "autoencoder.blocks=4",
    f"preset.penalty_gamma={6.25e-6 * FACTOR**3:g}": f"preset.penalty_gamma={6.25e-6 * FINE**3:g}",
}
PACES, KEPT = "paces.json", "bundle.json"


@dataclass(frozen=True)
class Trained:
    """Whom a training is about: a cache and its split."""

    cache: Path
    split: Path


def fine(name: str) -> tuple[tuple[str, ...], Setting]:
    """Words that all methods get, and the setting of one, on blocks of 4 mm. Paces are still those of the bench."""
    common = tuple(CHANGED.get(word, word) for word in COMMON)
    setting = SETTINGS[name]
    latent = any(word.startswith("autoencoder.") for word in setting.words)
    words = tuple(CHANGED.get(word, word) for word in setting.words)
    return common, replace(setting, words=words if latent else (*words, CROP))


def train_fine(name: str, seed: int, minutes: float, people: Trained, out: Path) -> Path:
    """Train a method and make a bundle of it, unless that is done; goes on where an earlier call stopped.

    The number of steps follows from a pace that the first call measures and keeps.

    Args:
        minutes: of the bench; the training gets `TIMES` as many.
        out: folder that everything is in.

    Returns:
        The zipped bundle, which ``relapet models import`` installs.

    Raises:
        InputError: the bundle that is there is of other people or settings.
        SystemExit: the training ended otherwise than by success; it has said why.
    """
    folder = out / f"{name}-{TIMES * minutes:g}min-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    common, setting = fine(name)
    setting = paced(setting, _paces(name, setting, common, people, folder))
    steps = lengths(setting, TIMES * minutes)
    words = overrides(name, setting, people.cache, people.split, folder, steps, seed, common)
    file, kept = folder.with_suffix(".zip"), folder / KEPT
    revision = [f"revision {setting.revision}"] if setting.revision else []
    key = canonical_json([plain(words), open_cache(people.cache).sha256, *revision]).decode()
    if file.exists() and kept.exists():
        if json.loads(kept.read_text(encoding="utf-8"))["key"] != key:
            raise InputError(f"{file}: of other people or settings than these; use another --out, or remove {folder}")
        return file
    check_begun(folder, key)
    say(f"{name} on blocks of {FINE} mm: {steps} in {folder}")
    code = train(words, folder)
    if code:
        said = ": it diverged" if code == DivergedError.exit_code else ""
        raise SystemExit(f"{folder}: no bundle{said}" if said else code)
    _bundled(name, setting, folder, file)
    write_whole(kept, json.dumps({"key": key, "steps": steps, "file": file.name}).encode())
    return file


def _paces(name: str, setting: Setting, common: tuple[str, ...], people: Trained, folder: Path) -> dict[str, float]:
    """Steps a CPU minute of each stage and the training, measured once."""
    path = folder / PACES
    if not path.exists():
        write_whole(path, json.dumps(paces(name, setting, people, folder, common)).encode())
    return json.loads(path.read_text(encoding="utf-8"))


def paced(setting: Setting, found: dict[str, float]) -> Setting:
    """A setting with other paces, by key."""
    before = tuple(replace(stage, pace=found[stage.key]) for stage in setting.before)
    return replace(setting, pace=found["run.steps"], before=before)


def _bundled(name: str, setting: Setting, folder: Path, file: Path) -> None:
    """A checked bundle of a run's last checkpoint, in its folder and as one zip file beside it."""
    from ..export import export_checkpoint

    bundle = folder / "bundle"
    export_checkpoint(
        checkpoints.saved(folder)[-1],
        bundle,
        name=f"bench-{name.replace('_', '-')}-{FINE}mm",
        licence="Apache-2.0",
        title=f"{name} of the bench, {FINE} mm (simulated data)",
        text=f"{name} as the bench trains it, on simulated people in blocks of {FINE} mm, so that methods can be "
        "compared in the program. It is not a model of real PET.",
        samples=min(setting.samples, 4),
        overwrite=True,
    )
    verify_bundle(bundle)

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
                archive.write(path, path.relative_to(bundle).as_posix())

    write_whole(file, write, suffix=".zip")


def people_of(out: Path, cache: Path | None, train_people: int, validation_people: int) -> Trained:
    """The first training and validation people of a cache of whole voxels or blocks of 2 or 4 mm, or rendered ones.

    Raises:
        InputError: a cache of other people or blocks, or with too few of them.
    """
    parts = (train_people, validation_people, 0)
    cache = cache or rendered(out / f"people-{FINE}mm", sum(parts), TRAIN_SEED, parts, FINE)
    opened = open_cache(cache)
    made = opened.index["options"].get("rendered_seed")
    if FINE % opened.factor or made != TRAIN_SEED:
        raise InputError(
            f"{cache}: not of 'prepare --rendered N --rendered-seed {TRAIN_SEED} --factor {FINE}' (or a factor of 1 or "
            "2); leave --cache out, and the people are rendered"
        )
    whole = load_split(cache / FILE, opened)
    if len(whole.train) < train_people or len(whole.validation) < validation_people:
        raise InputError(f"{cache}: too few people; {train_people} to train on and {validation_people} to validate")
    split = subset(
        out / f"split-{FINE}mm-{train_people}-{validation_people}.json", whole, train_people, validation_people
    )
    return Trained(cache, split)
