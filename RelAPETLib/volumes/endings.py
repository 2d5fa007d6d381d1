"""How names of volume files end, in one place: what is read by each, and what a name is without it."""

from __future__ import annotations

from pathlib import Path

#: Which reader a name's ending asks for, where the content does not tell.
KINDS = {
    **dict.fromkeys((".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz"), "nifti"),
    **dict.fromkeys((".mgh", ".mgz"), "mgh"),
    **dict.fromkeys((".nrrd", ".nhdr"), "nrrd"),
    **dict.fromkeys((".mha", ".mhd"), "metaimage"),
}
#: The endings that BIDS allows.
BIDS_ENDINGS = (".nii.gz", ".nii")


def ending_of(path: Path) -> str:
    """Ending of the name, lower case, ``.gz`` together with what stands before it."""
    parts = [part.lower() for part in path.suffixes[-2:]]
    return "".join(parts) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def name_without_ending(path: Path) -> str | None:
    """``sub-01_pet`` of ``sub-01_pet.nii.gz`` or ``sub-01_pet.img``; None for what is no volume's name."""
    ending = ending_of(path)
    return path.name[: -len(ending)] if ending in KINDS else None
