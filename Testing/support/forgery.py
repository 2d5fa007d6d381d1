"""Changing a bundle the way somebody would who knows how its hashes are made."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from RelAPETLib.models.metadata import fingerprint
from RelAPETLib.volumes import file_sha256


def read_metadata(folder: Path) -> dict:
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


def write_metadata(folder: Path, metadata: dict) -> None:
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


def forge(folder: Path, change: Callable[[dict], object]) -> None:
    """Change a bundle's metadata in place and make every hash fit again."""
    metadata = read_metadata(folder)
    change(metadata)
    weights = folder / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"metadata_sha256": fingerprint(metadata)})
    metadata["weights"]["sha256"] = file_sha256(weights)
    write_metadata(folder, metadata)
