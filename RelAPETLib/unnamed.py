"""Messages without names of people: no path and no file name of an input, which are often called after a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .notices import printable

_SEPARATOR = re.compile(r"[/\\]")
#: Words with capitals or digits in warnings, here in small letters; as names of files they say nothing of anybody.
_TERMS = frozenset(
    (
        "AnatomicalOrientation BIDS CPU DICOM FLAIR GPU MNI MRI NIfTI PBR PET PIB PatientBirthDate PatientID "
        "SUVR SeriesInstanceUID SpacingBetweenSlices TAU T1w T2-FLAIR T2F TransformMatrix"
    )
    .lower()
    .split()
)
#: Endings of the files that may lie beside a volume and be named in a message about it.
_BESIDE = (".json", ".img", ".hdr", ".raw", ".zraw")
#: An absolute path of two parts or more, on any system; its folders may have blanks, its last part may not.
_PLACE = re.compile(r"""(?<![\w.])(?:[A-Za-z]:)?(?:[\\/][^\\/:;,'"\n]+)+[\\/]([^\\/\s:;,'"]+)""")

#: A file with a usual ending, with the folders before it; these may have blanks where the path begins a sentence.
_FILE = re.compile(
    r"""(?:(?:^|(?<=[:;,'"] ))[^\\/\n:;,'"]+[\\/](?:[^\\/\n:;,'"]+[\\/])*[^\n:;,'"]*?|[^\s:;,'"()]+)"""
    r"""\.(?:nii|nii\.gz|mgz|mgh|nrrd|nhdr|mha|mhd|img|hdr|raw|zraw|dcm|ima|json|tsv|csv)\b(?!\.gz)""",
    re.IGNORECASE,
)


def without_files(messages: Iterable[str], files: Mapping[Path, str]) -> list[str]:
    """Messages on one line, with the path and the name of every file replaced by what the file is; no message twice.

    Our own warnings hold neither, they call an input by its title; this is for errors and for what others' messages
    bring. A bare name that may as well be a word of our sentences, such as ``DICOM`` or ``brain``, is left as it is.

    Args:
        messages: one text each.
        files: what each file or folder is by its path, such as ``T1w``; it becomes ``the T1w``.
    """
    spellings: dict[str, str] = {}
    for path, title in files.items():
        whole = {str(path), str(path.absolute()), printable(path, None), printable(path.absolute(), None)}
        whole = {text for text in whole if _SEPARATOR.search(text) and _SEPARATOR.sub("", text)}
        named = {text for text in (path.name, printable(path.name, None)) if len(text) > 2 and not _is_word(text)}
        spellings |= dict.fromkeys(whole | named, title)
    cleaned = [" ".join(message.split()) for message in messages]
    for text in sorted(spellings, key=len, reverse=True):  # a folder's path is the beginning of another's
        inside = r"(?:[/\\][^\s:;,]*)?" if _SEPARATOR.search(text) else ""
        known, found = spellings[text], " ".join(text.split())
        of_input, _, kind = known.rpartition("'s ")  # "sidecar a.json" becomes "the T1w's sidecar"
        titled = rf"(?P<titled>\b{re.escape(known)} )"
        before = rf"(?:{titled}|\b{kind} )?" if of_input else f"{titled}?"
        pattern = re.compile(rf"{before}(?<!\w){re.escape(found)}(?!\w){inside}")
        cleaned = [
            pattern.sub(lambda match, known=known: known if match["titled"] else f"the {known}", message)
            for message in cleaned
        ]
    return list(dict.fromkeys(cleaned))


def with_beside(path: Path, title: str) -> dict[Path, str]:
    """A volume's file by what it is, and those that may lie beside it: its sidecar, or the other one of a pair."""
    stem = Path(path.name.removesuffix(".gz")).stem
    beside = {path.with_name(f"{stem}{ending}"): f"{title}'s other file" for ending in _BESIDE} if path.suffix else {}
    if path.suffix:
        beside[path.with_name(f"{stem}.json")] = f"{title}'s sidecar"
    return beside | {path: title}


def without_places(words: str) -> str:
    """A text in which a file's name stands for its absolute path, so that it gives no place of a machine away."""
    return _PLACE.sub(r"\1", words)


def without_names(words: str) -> str:
    """A text whose files are not known, without their paths and names, but for names that begin with a code of BIDS."""
    words = _PLACE.sub(lambda match: match[1] if _is_coded(match[1]) else "a file", words)
    return _FILE.sub(lambda match: name if _is_coded(name := re.split(r"[\\/]", match[0])[-1]) else "a file", words)


def _is_coded(name: str) -> bool:
    return bool(re.match(r"sub-[A-Za-z0-9+]+_", name))


def _is_word(name: str) -> bool:
    """Whether a file's name may be a word of our warnings: small letters alone, or a term of the field."""
    return bool(re.fullmatch("[a-z]+", name)) or name.lower() in _TERMS
