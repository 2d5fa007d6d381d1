"""Whether an image says that it is synthetic, and the mark by which those written here do.

A record or sidecar can be lost. So a synthetic image carries `MARK` among its own metadata: `write_volume` puts it into
NIfTI's ``descrip`` and among NRRD's own keys, where 3D Slicer, whose volume nodes have an attribute of that name, saves
it too. DICOM has an element for it, ``SyntheticData`` (PS3.3, C.12.1.1), which others' synthetic images should have.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RelAPETError
from ..jsonfiles import read_json_object
from .reading import header_says_synthetic
from .sidecar import readable_content
from .writing import MARK, file_sha256

if TYPE_CHECKING:
    import SimpleITK as sitk

#: What is said of one that is given as the measured PET.
SYNTHETIC = "a synthetic PET, as its header or what lies beside it says, and no measured one"
RECORD_NAME = "synthetic_pet.json"
#: What a record says of the one volume of a result that is no synthetic PET's.
REFERENCE_MEANING = "the measured PET as it was compared: registered, and in the synthetic PET's units"


def mark_synthetic(image: sitk.Image) -> sitk.Image:
    """The image itself, which says from now on, and in files that `write_volume` makes of it, that it is synthetic."""
    image.SetMetaData(MARK, "1")
    return image


def says_synthetic(image: object) -> bool:
    """Whether an image says that it is synthetic: no measured PET, whatever it is given as.

    A `SimpleITK.Image` says so by its mark. Of a file, given by its path, it is a sidecar with ``Synthetic``, as
    `relapet bids` writes, a `synthetic_pet.json` that lists the file by its name or, should it be called something else
    by now, by its SHA-256, or the file's own header, which for a DICOM series is that of the first picture. What cannot
    be read says nothing, nor does what is neither an image nor a path.
    """
    if not isinstance(image, (str, os.PathLike)):
        import SimpleITK as sitk

        return isinstance(image, sitk.Image) and image.HasMetaDataKey(MARK)
    image = Path(image)
    try:
        return readable_content(image).get("Synthetic") is True or _listed(image) or header_says_synthetic(image)
    except (RelAPETError, OSError):
        return False


def _listed(image: Path) -> bool:
    """Whether the record of a synthesis lies beside a file and lists it among what is not measured."""
    record = image.absolute().parent / RECORD_NAME
    if not (record.is_file() and image.is_file()):
        return False
    try:
        listed = read_json_object(record).get("outputs")
        outputs = {name: facts for name, facts in listed.items() if isinstance(facts, dict)}
    except (RelAPETError, AttributeError):
        return False
    made = {name: facts for name, facts in outputs.items() if facts.get("content") != REFERENCE_MEANING}
    return image.name in made or file_sha256(image) in [facts.get("sha256") for facts in made.values()]
