"""A stand-in of Slicer's DICOM database and of its import, by the interface that modules call.

`DICOMLib.DICOMUtils.importDicom(dicomDataDir, dicomDatabase=None, copyFiles=False)` returns False where it failed; the
database gives a file for an instance's UID, "" for one that it does not have. What CTK's indexer does besides is not
here.
"""

import shutil
import sys
import types
from pathlib import Path


class DicomDatabase:
    """What `slicer.dicomDatabase` answers; `isOpen` is a property there, as PythonQt shows it."""

    def __init__(self, folder):
        self.isOpen, self._folder, self._files = True, Path(folder), {}

    def fileForInstance(self, uid):
        return self._files.get(str(uid), "")

    def instances(self):
        """Files by UID: for tests alone."""
        return dict(self._files)

    def _add(self, folder, copy):
        import pydicom

        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
                kept = self._folder / f"{uid}.dcm"
                self._files[uid] = str(shutil.copyfile(path, kept) if copy else path)


def install_dicom(monkeypatch, folder):
    """Put a database into `slicer` and ``DICOMLib`` into the modules, for one test; returns the database."""
    import slicer

    database = DicomDatabase(folder)

    def importDicom(dicomDataDir, dicomDatabase=None, copyFiles=False):
        try:
            (dicomDatabase or slicer.dicomDatabase)._add(dicomDataDir, copyFiles)
        except Exception:  # as Slicer's own: it logs and returns False
            return False
        return True

    library = types.ModuleType("DICOMLib")
    library.DICOMUtils = types.SimpleNamespace(importDicom=importDicom)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    monkeypatch.setitem(sys.modules, "DICOMLib", library)
    return database
