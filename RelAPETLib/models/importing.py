"""Putting a model file that a user has into the user's folder of models."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from ..errors import ModelError
from .bundle import BUNDLE_FILES, verify_bundle, write_folder
from .catalogue import RELEASE_NAME, get_entry, home, load_catalogue
from .download import extract_bundle, fetch, is_zipped_bundle
from .release import git_blob_id, import_release_checkpoint


def import_model(file: Path | str, out: Path | str | None = None, overwrite: bool = False) -> Path:
    """Make a model folder of a bundle's folder, a zipped bundle, or the authors' published checkpoint.

    A bundle is checked against its schema and its own hashes, and copied; nothing in it is run. A checkpoint goes
    through `import_release_checkpoint`.

    Args:
        file: folder, ``.zip`` or checkpoint.
        out: the folder to write; None for ``models`` in `home()`, under the bundle's or file's name.
        overwrite: replace a model folder that is there.

    Returns:
        The model's folder.

    Raises:
        ModelError: no such file, not a model, damaged, tampered with, or named like a model of the catalogue.
        OutputError: the folder exists and may not be replaced, or cannot be written.
    """
    file = Path(file)
    if not file.exists():
        raise ModelError(f"no such file: {file}")
    if file.is_dir():
        return _copy_bundle(file, out, overwrite)
    if is_zipped_bundle(file):
        with tempfile.TemporaryDirectory(prefix="relapet-model-") as scratch:
            extract_bundle(file, Path(scratch) / "bundle")
            return _copy_bundle(Path(scratch) / "bundle", out, overwrite)
    if out is None and _is_release(file):
        return fetch(RELEASE_NAME, file)
    out = Path(out) if out is not None else _own_folder(file.stem)
    import_release_checkpoint(file, out, overwrite=overwrite)
    return out


def _is_release(file: Path) -> bool:
    source = get_entry(RELEASE_NAME)["source"]
    return file.stat().st_size <= source["max_bytes"] and git_blob_id(file.read_bytes()) == source["git_blob_id"]


def _copy_bundle(folder: Path, out: Path | str | None, overwrite: bool) -> Path:
    bundle = verify_bundle(folder)
    target = Path(out) if out is not None else _own_folder(bundle.metadata["name"])
    files = {name: (folder / name).read_bytes() for name in BUNDLE_FILES if (folder / name).is_file()}
    with tempfile.TemporaryDirectory(prefix="relapet-model-") as scratch:
        # Checked once more as copied: between the first check and the reading somebody may have changed the folder.
        copy = Path(scratch) / "bundle"
        write_folder(copy, files, overwrite=False)
        verify_bundle(copy)
    write_folder(target, files, overwrite)
    return target


def _own_folder(name: str) -> Path:
    """Place of a user's model. Raises `ModelError` for a name that is the catalogue's or no plain folder name."""
    if name in load_catalogue():
        raise ModelError(f"'{name}' is a model of the catalogue; rename yours, or give --out for another folder")
    if not re.fullmatch(r"\w[\w .+-]{0,79}", name) or name.endswith("."):
        raise ModelError(f"'{name[:80]}' cannot be a folder's name; give --out")
    return home() / "models" / name
