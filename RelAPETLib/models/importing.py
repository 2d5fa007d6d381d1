"""Putting a model file that a user has into the user's folder of models."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from ..errors import ModelError
from ..outputs import shown_as
from .bundle import BUNDLE_FILES, place_bundle, refuse_lfs_pointer, reserve_bundle, verify_bundle
from .catalogue import RELEASE_NAME, get_entry, home, load_catalogue
from .download import check_file, extract_bundle, fetch, is_zipped_bundle, zipped_metadata
from .metadata import check_metadata
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
    if file.is_dir():
        bundle = verify_bundle(file)
        return _install(bundle.metadata["name"], functools.partial(_copy_files, file), file, out, overwrite)
    check_file(file)
    if is_zipped_bundle(file):
        metadata = zipped_metadata(file)
        check_metadata(metadata, f"model metadata in {file}")
        return _install(metadata["name"], functools.partial(extract_bundle, file), file, out, overwrite)
    refuse_lfs_pointer(file, file)
    if out is None and _is_release(file):
        return fetch(RELEASE_NAME, file)
    out = Path(out) if out is not None else _own_folder(file.stem)
    import_release_checkpoint(file, out, overwrite=overwrite)
    return out


def _is_release(file: Path) -> bool:
    source = get_entry(RELEASE_NAME)["source"]
    try:
        return file.stat().st_size <= source["max_bytes"] and git_blob_id(file.read_bytes()) == source["git_blob_id"]
    except OSError as error:
        raise ModelError(f"cannot read {file}: {error.strerror or error}") from error


def _install(name: str, bring: Callable[[Path], None], file: Path, out: Path | str | None, overwrite: bool) -> Path:
    """Put the bundle that `bring` writes into its folder if it is in order as written there."""
    target = (Path(out) if out is not None else _own_folder(name)).absolute()

    def fill(built: Path) -> None:
        with shown_as({built: file}):
            bring(built)
            # Checked as it came: between a check before and the reading somebody may have changed the source.
            if verify_bundle(built).metadata["name"] != name:
                raise ModelError(f"{file} was changed while it was read; try again")

    with reserve_bundle(target, overwrite) as place:
        place_bundle(place, target, fill)
    return target


def _copy_files(folder: Path, built: Path) -> None:
    for name in BUNDLE_FILES:
        if (folder / name).is_file():
            (built / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, built / name, follow_symlinks=False)


def _own_folder(name: str) -> Path:
    """Place of a user's model. Raises `ModelError` for a name that is the catalogue's or no plain folder name."""
    if name in load_catalogue():
        raise ModelError(f"'{name}' is a model of the catalogue; rename yours, or give --out for another folder")
    if not re.fullmatch(r"\w[\w .+-]{0,79}", name) or name.endswith("."):
        raise ModelError(f"'{name[:80]}' cannot be a folder's name; give --out")
    return home() / "models" / name
