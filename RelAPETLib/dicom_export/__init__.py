"""DICOM out: a synthetic PET as a Parametric Map and as a Secondary Capture series, and its report as an
Encapsulated PDF (`export_dicom`).

Needs the ``[dicom]`` extra. (DICOM in is `volumes/dicom.py` and needs none of it.) Never PET Image Storage: its IOD
demands facts of an acquisition (dose, frame times, corrections) that a synthetic image does not have.
"""

from .export import MAP_NAME, REPORT_NAME, UNCERTAINTY_NAME, earlier_names, export_dicom

__all__ = ["MAP_NAME", "REPORT_NAME", "UNCERTAINTY_NAME", "earlier_names", "export_dicom"]
