"""A process that decompresses DICOM pixels with GDCM, whose codecs crash on some damaged streams.

    python -m RelAPETLib.volumes.dicom.decompress FOLDER

Each NAME.dcm in the folder, in order of their names, becomes NAME.npy, and what the codec tells of it NAME.txt: of
damage libjpeg tells on standard error alone. The first one that cannot be decompressed ends the process.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np

from ...whole_files import write_whole


def main(folder: Path) -> int:
    import SimpleITK as sitk

    for path in sorted(folder.glob("*.dcm")):
        with path.with_suffix(".txt").open("wb") as told:
            os.dup2(told.fileno(), 2)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        try:
            image = reader.Execute()
        except RuntimeError:
            return 1
        write_whole(path.with_suffix(".npy"), partial(_save, sitk.GetArrayFromImage(image)))
    return 0


def _save(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as stream:  # np.save would add an ending to a path
        np.save(stream, array)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
