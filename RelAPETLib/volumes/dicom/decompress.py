"""A process that decompresses DICOM pixels with GDCM, whose codecs crash on some damaged streams.

    python -m RelAPETLib.volumes.dicom.decompress FOLDER

Each NAME.dcm in the folder, in order of their names, becomes NAME.npy, and what the codec tells of it NAME.txt: of
damage libjpeg tells on standard error alone. The first one that cannot be decompressed ends the process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np


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
        with path.with_suffix(".part").open("wb") as stream:
            np.save(stream, sitk.GetArrayFromImage(image))
        path.with_suffix(".part").rename(path.with_suffix(".npy"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
