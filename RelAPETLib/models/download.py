"""Getting a model of the catalogue: whole and verified, or not there."""

from __future__ import annotations

import errno
import http.client
import re
import shutil
import stat
import struct
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from .. import __version__
from ..errors import DownloadError, ModelError, OutputError
from ..jsonfiles import parse_json
from ..notices import warn
from ..outputs import shown_as
from .bundle import (
    BUNDLE_FILES,
    METADATA_FILE,
    max_bytes,
    place_bundle,
    refuse_lfs_pointer,
    reserve_bundle,
    verify_bundle,
)
from .catalogue import check_entry, get_entry, installed_folder, used_folder
from .release import git_blob_id, import_release_checkpoint

_BLOCK = 1 << 18
_TIMEOUT_SECONDS = 60
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What `zipfile` raises for archives that are damaged, encrypted, or ask for what it does not know.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError,
    OverflowError, KeyError, IndexError,
)  # fmt: skip


def fetch(
    name: str,
    from_file: Path | str | None = None,
    *,
    catalogue: Path | None = None,
    opener: Callable | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Put a model of the catalogue on this machine.

    The file is downloaded into a temporary folder beside its place, checked against the catalogue's git blob id,
    turned into a bundle and renamed into place. What an interrupted run leaves behind is never used again. A model
    that is there and in order is left as it is; a damaged one is replaced.

    Args:
        name: name in the catalogue.
        from_file: for machines that cannot download: the checkpoint itself, carried there by other means, or a zipped
            bundle made by another RelAPET. The checkpoint's git blob id is checked as after a download. Of a zipped
            bundle only consistency and its claim to come from that blob can be: it deserves the trust its sender does.
        catalogue: another catalogue than the shipped one.
        opener: called with the URL instead of urllib; returns a response to read from, for use in a `with` statement.
        progress: called as progress(fraction, message).

    Returns:
        The bundle's folder.

    Raises:
        DownloadError: no connection, interrupted, too big, not https, or not the file the catalogue names.
        ModelError: no such model, or `from_file` is not what it should be.
        OutputError: the folder cannot be written.
    """
    entry = get_entry(name, catalogue)
    target = installed_folder(entry)
    if from_file is not None:
        check_file(Path(from_file))
    if _is_in_order(used := used_folder(entry), entry):
        _tell_of_unused(from_file, name, used)
        return used
    if entry["shipped"]:
        raise ModelError(
            f"model '{name}' should come with relapet but {target} is missing or damaged; reinstall relapet"
        )
    with reserve_bundle(target, overwrite=True) as place:
        if _is_in_order(target, entry):  # a killed run had moved it aside, or another one has just brought it
            _tell_of_unused(from_file, name, target)
            return target
        try:
            file, shown = (Path(from_file), from_file) if from_file is not None else (place.staging / "download", "")
            if from_file is None:
                shown = entry["source"]["url"]
                download(shown, file, entry["source"]["max_bytes"], opener or _open_https, progress)

            def fill(built: Path) -> None:
                with shown_as({built: shown}):
                    _make_bundle(file, entry, built)
                    check_entry(verify_bundle(built), entry)

            with shown_as({file: shown}):
                place_bundle(place, target, fill)
        except OSError as error:
            raise OutputError(f"cannot write the model to {target}: {error.strerror or error}") from error
    return target


def _tell_of_unused(from_file: Path | str | None, name: str, folder: Path) -> None:
    if from_file is not None:
        warn(f"model {name} is there already, whole, at {folder}: {from_file} was not used")


def _is_in_order(folder: Path, entry: dict) -> bool:
    if not folder.is_dir():
        return False
    try:
        check_entry(verify_bundle(folder), entry)
    except ModelError:
        return False
    return True


def _make_bundle(file: Path, entry: dict, built: Path) -> None:
    check_file(file)
    if is_zipped_bundle(file):
        extract_bundle(file, built)
        return
    source = entry["source"]
    if file.stat().st_size > source["max_bytes"]:
        raise DownloadError(f"{file} is larger than {source['max_bytes'] // 2**20} MiB; it is not the file wanted")
    found = git_blob_id(file.read_bytes())
    if found != source["git_blob_id"]:
        refuse_lfs_pointer(file, f"nothing was installed: {file}", DownloadError)
        raise DownloadError(
            f"what came is not {source['path']} of {source['repository']}: git blob {found}, "
            f"not {source['git_blob_id']}; nothing was installed"
        )
    import_release_checkpoint(file, built, entry=entry)


def download(url: str, file: Path, max_bytes: int, opener: Callable, progress=None) -> None:
    """Stream a URL into a file.

    Raises:
        DownloadError: not https, no connection, larger than `max_bytes`, or fewer bytes than announced.
    """
    _require_https(url)
    advice = "try again, or download it elsewhere and use --from-file"
    try:
        with opener(url) as response, open(file, "xb") as out:
            announced = int(response.headers.get("Content-Length") or 0)
            received = 0
            while block := response.read(_BLOCK):
                received += len(block)
                if max(received, announced) > max_bytes:
                    raise DownloadError(f"{url} is larger than {max_bytes // 2**20} MiB; it is not the file wanted")
                out.write(block)
                if progress and announced:
                    progress(min(1.0, received / announced), f"{received / 1e6:.1f} of {announced / 1e6:.1f} MB")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(f"cannot download {url}: {str(error) or type(error).__name__}; {advice}") from error
    if announced and received != announced:
        raise DownloadError(f"{url} broke off after {received} of {announced} bytes; {advice}")


class _HttpsOnlyRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open_https(url: str):
    request = urllib.request.Request(url, headers={"User-Agent": f"relapet/{__version__}"})
    return urllib.request.build_opener(_HttpsOnlyRedirects).open(request, timeout=_TIMEOUT_SECONDS)


def _require_https(url: str) -> None:
    if urlsplit(url).scheme != "https":
        raise DownloadError(f"{url} is not an https address; refused")


def check_file(file: Path) -> None:
    """Raise `ModelError` unless a path is a plain file; reading a pipe or a device might never end."""
    if not file.exists():
        raise ModelError(f"no such file: {file}")
    if not file.is_file():
        raise ModelError(f"{file} is not a plain file; give a checkpoint, a zipped model, or a model's folder")


def is_zipped_bundle(file: Path) -> bool:
    """Whether a file is a zip archive with bundle metadata in it (a PyTorch checkpoint is a zip archive as well)."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name == METADATA_FILE or name.endswith("/" + METADATA_FILE) for name in archive.namelist())
    except _ZIP_ERRORS:
        return False


def extract_bundle(file: Path | str, folder: Path) -> None:
    """Unpack a zipped bundle into a new folder.

    It may hold the files of a bundle, at the top or in one folder, and no others.

    Raises:
        ModelError: any other member (absolute, with ``..``, a link, twice, unknown), too big, encrypted or damaged.
        OutputError: the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for name, member in _bundle_members(archive, file).items():
                target = folder / name
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    out = open(target, "xb")
                except OSError as error:
                    raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
                with archive.open(member) as packed, out:
                    shutil.copyfileobj(packed, out)
    except _ZIP_ERRORS as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(f"cannot write {folder}: {error.strerror}") from error
        raise ModelError(f"{file} is a damaged or encrypted zip archive ({_one_line(error)}); get it again") from error


def zipped_metadata(file: Path):
    """Contents of a zipped bundle's metadata; still to be checked. Raises `ModelError` as `extract_bundle` does."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_bundle_members(archive, file)[METADATA_FILE]) as stream:
            return parse_json(stream.read(max_bytes(METADATA_FILE)))
    except _ZIP_ERRORS as error:  # a ValueError too, of the JSON
        raise ModelError(f"{file} is no sound zipped model ({_one_line(error)}); get it again") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _bundle_members(archive: zipfile.ZipFile, file: Path | str) -> dict[str, zipfile.ZipInfo]:
    """Members to unpack, by their path inside the bundle. Raises `ModelError` for any that does not belong."""
    metadata = [name for name in archive.namelist() if name == METADATA_FILE or name.endswith("/" + METADATA_FILE)]
    top = metadata[0].removesuffix(METADATA_FILE) if metadata else ""
    if not re.fullmatch(r"([^/\\:]+/)?", top) or top in ("./", "../"):
        raise ModelError(f"{file} is not a zipped model: its metadata are at {metadata[0][:80]!r}; refused")
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.is_dir():
            continue  # folders are made as files need them
        name = member.filename.removeprefix(top)
        plain = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG) and member.compress_type in _COMPRESSIONS
        if name not in BUNDLE_FILES or name in members or not plain:
            shown = " ".join(member.filename[:80].split())
            raise ModelError(f"{file} is not a zipped model: it holds '{shown}'; refused")
        members[name] = member
    for name, member in members.items():
        if member.file_size > max_bytes(name):
            raise ModelError(f"{file}: '{name}' unpacks to more than {max_bytes(name)} bytes; refused")
    return members
