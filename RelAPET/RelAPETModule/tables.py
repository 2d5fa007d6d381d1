"""Table nodes: metrics against a reference, and means by region or segment, with bars in a column of their own."""

import math

import slicer
import vtk

from .scene import TRACER, copyMarks

_COLUMNS = {
    "synthetic_pet": "Synthetic",
    "reference": "Reference",
    "difference": "Difference",
    "sd_in_region": "SD of voxels",
    "spread": "Spread of samples",
    "low": "Interval from",
    "high": "Interval to",
}
#: Columns that are left out where no region has a number.
_OPTIONAL = ("spread", "low", "high")
#: Role by which a PET knows its tables of segments, and such a table its segmentation.
_SEGMENTS = "RelAPET.Segments"
#: A bar of full blocks and one of the eighths between, from none to seven; Slicer's own bar plots draw no names.
BLOCK, EIGHTHS, BAR_LENGTH = "\u2588", ("", *map(chr, range(0x258F, 0x2588, -1))), 12


def _fill(table, columns):
    """Replace a table node's content; columns is a list of (name, values)."""
    changing = table.StartModify()
    table.RemoveAllColumns()
    for name, values in columns:
        array = vtk.vtkDoubleArray() if all(isinstance(v, (int, float)) for v in values) else vtk.vtkStringArray()
        array.SetName(name)
        for value in values:
            array.InsertNextValue(value if isinstance(array, vtk.vtkDoubleArray) else str(value))
        table.AddColumn(array)
    table.SetUseColumnTitleAsColumnHeader(True)
    table.Modified()
    table.EndModify(changing)


def fillRegions(table, rows, units):
    """Rows of ``regions.tsv`` (title and a column for each map), the highest synthetic mean first, and its bar."""
    means = [_number(row.get("synthetic_pet")) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: -means[index] if means[index] == means[index] else math.inf)
    columns = [("Region", [rows[index]["title"] for index in order])]
    for key, title in _COLUMNS.items():
        values = [_number(rows[index][key]) for index in order] if rows and key in rows[0] else []
        if values and not (key in _OPTIONAL and all(value != value for value in values)):
            columns.append((f"{title} ({units})", values))
        if key == "synthetic_pet":
            top = max((mean for mean in means if mean == mean), default=0.0)
            columns.append(("Bar of synthetic", [bar(means[index], top) for index in order]))
    _fill(table, columns)
    table.SetAttribute("RelAPET.Synthetic", "1")


def _number(text):
    """A number of a table, or NaN where it has none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def bar(value, top):
    """A bar of text, `BAR_LENGTH` blocks for `top`; none for what is not above 0."""
    if not (value > 0 and top > 0):
        return ""
    eighths = round(8 * BAR_LENGTH * min(value / top, 1.0))
    return BLOCK * (eighths // 8) + EIGHTHS[eighths % 8]


def fillMetrics(table, metrics):
    """PSNR, SSIM and MAE inside the brain and over the whole grid, as the library's metrics have them."""
    names = {"psnr": "PSNR (dB)", "ssim": "SSIM", "mae": "MAE (share of the window)"}
    where = {"brain": "inside the brain", "whole_grid": "whole grid"}
    places = [key for key in where if isinstance(metrics.get(key), dict)]
    columns = [("Metric", list(names.values()))]
    for place in places:
        values = [metrics[place].get(key) for key in names]
        columns.append((where[place], [float("inf") if value is None else float(value) for value in values]))
    _fill(table, columns)
    table.SetAttribute("RelAPET.Synthetic", "1")


def segmentTable(pet, segmentation):
    """The table node of a segmentation's means in a PET: that of an earlier time, or a new one."""
    for number in range(pet.GetNumberOfNodeReferences(_SEGMENTS)):
        table = pet.GetNthNodeReference(_SEGMENTS, number)
        if table is not None and table.GetNodeReference(_SEGMENTS) is segmentation:
            return table
    name = f"SYNTHETIC {pet.GetAttribute(TRACER)} means in {segmentation.GetName()}"
    name = slicer.mrmlScene.GenerateUniqueName(name)
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    copyMarks(pet, table)
    table.SetNodeReferenceID(_SEGMENTS, segmentation.GetID())
    pet.AddNodeReferenceID(_SEGMENTS, table.GetID())
    return table


def segmentRows(segmentation, volume):
    """Mean and SD of a map in every segment, as rows for `fillRegions`; segments without a voxel in it are left out."""
    rows = []
    values = slicer.util.arrayFromVolume(volume)
    for segmentID in segmentation.GetSegmentation().GetSegmentIDs():
        inside = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentID, volume) > 0
        if inside.any():
            name = segmentation.GetSegmentation().GetSegment(segmentID).GetName()
            chosen = values[inside]
            rows.append({"title": name, "synthetic_pet": float(chosen.mean()), "sd_in_region": float(chosen.std())})
    return rows
