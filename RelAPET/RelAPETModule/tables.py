"""Table nodes: metrics against a reference, and means by region or segment, with bars in a column of their own."""

import csv
import io
import math

import slicer
import vtk
from slicer.i18n import tr as _

from .attributes import MODEL, STATEMENT, SYNTHETIC, TRACER, UNITS

_COLUMNS = {
    "synthetic_pet": "SYNTHETIC",
    "reference": "Measured",
    "difference": "SYNTHETIC minus measured",
    "sd_in_region": "SD of voxels",
    "spread": "Spread of samples' means",
    "voxel_spread": "Spread of samples, mean of voxels",
    "low": "Interval from",
    "high": "Interval to",
}
BAR, FLAGS = "Bar of SYNTHETIC", "Flags"
#: Column of a segment's row for each map; the spread's is its mean over the segment's voxels, larger than that of the
#: samples' means, which the library's table of regions has.
SEGMENT_COLUMNS = {
    "pet": "synthetic_pet", "measured": "reference", "difference": "difference", "uncertainty": "voxel_spread",
}  # fmt: skip
#: Share of a segment that may be missing by rounding where grids differ.
ROUNDING = 0.02
#: A region with a smaller share in the field of view has no mean, as in the library's own table.
LEAST_IN_VIEW = 0.5
#: Maps that hold something of a measured PET.
OF_MEASURED = ("measured", "difference")
#: Columns that are left out where no region has a number.
_OPTIONAL = ("spread", "low", "high")
#: Role by which a PET knows its tables of segments, and such a table its segmentation.
_SEGMENTS = "RelAPET.Segments"
#: A bar of full blocks and one of the eighths between, from none to seven; Slicer's own bar plots draw no names.
BLOCK, EIGHTHS, BAR_LENGTH = "\u2588", ("", *map(chr, range(0x258F, 0x2588, -1))), 12


def fill(table, columns):
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


def fillRegions(table, rows, units, summary=None):
    """Rows of ``regions.tsv`` (title and a column for each map), the highest synthetic mean first, and its bar.

    summary: of the record: the tracer's composite, which stands above the regions with what it is not.
    """
    top = [compositeRow(summary, rows[0])] if summary and rows else []
    rows = [*top, *rows]
    means = [_number(row.get("synthetic_pet")) for row in rows]
    order = sorted(
        range(len(rows)),
        key=lambda index: (index >= len(top), -means[index] if means[index] == means[index] else math.inf),
    )
    columns = [("Region", [rows[index]["title"] for index in order])]
    for key, title in _COLUMNS.items():
        values = [_number(rows[index][key]) for index in order] if rows and key in rows[0] else []
        if values and not (key in _OPTIONAL and all(value != value for value in values)):
            columns.append((f"{title} ({units})", values))
        if key == "synthetic_pet":
            highest = max((mean for mean in means if mean == mean), default=0.0)
            columns.append((BAR, [bar(means[index], highest) for index in order]))
    if top or (rows and "share_in_view" in rows[0]):
        columns.append((FLAGS, [flag(rows[index]) for index in order]))
    fill(table, columns)
    table.SetAttribute("RelAPET.Synthetic", "1")


def compositeRow(summary, like):
    """The composite as a row of the same columns as another row; what it is not stands where regions have flags."""
    value, measured = _number(summary.get("value")), _number(summary.get("measured"))
    values = {"synthetic_pet": value, "reference": measured, "difference": value - measured}
    values["spread"] = _number(summary.get("spread"))
    values = {column: number for column, number in values.items() if column in like}
    words = str(summary.get("name", ""))
    title = _("{name} (a guess, uncalibrated)").format(name=words[:1].upper() + words[1:])
    return dict.fromkeys(like, math.nan) | values | {"title": title, "caveat": str(summary.get("caveat", ""))}


def flag(row):
    """What is to be known of a row, in words: "" for a region that is in the field of view as a whole."""
    if "caveat" in row:
        return row["caveat"]
    share, both = _number(row.get("share_in_view")), _number(row.get("share_measured"))
    words = []
    if share < 1:
        seen = f"{math.floor(100 * share)} % in the field of view"
        words.append(
            f"{seen}, too little for a mean" if math.isnan(_number(row.get("synthetic_pet"))) else f"only {seen}"
        )
    if both < (share if share < 1 else 1):
        words.append(_("{share} % in the measured PET's field of view").format(share=math.floor(100 * both)))
    return "; ".join(words)


def asLists(table):
    """Header and rows of a table as texts, without the bars; n/a for what is not there."""
    columns = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    kept = [index for index, name in enumerate(columns) if name != BAR]
    rows = [[table.GetCellText(row, index) for index in kept] for row in range(table.GetNumberOfRows())]
    rows = [["n/a" if text == "nan" else text for text in row] for row in rows]
    return [[columns[index] for index in kept], *rows]


def asText(table, separator="\t"):
    """A table as text of lines: for the clipboard with tabs, for a file with commas."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(asLists(table))
    return stream.getvalue()


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
    fill(table, columns)
    table.SetAttribute("RelAPET.Synthetic", "1")


def copyMarks(pet, table):
    """Let a table say, as its PET does, that it is synthetic, of which tracer and model, and for research only."""
    for name in (SYNTHETIC, TRACER, MODEL, UNITS, STATEMENT):
        table.SetAttribute(name, pet.GetAttribute(name))


def segmentsOf(pet):
    """A PET's tables of segments."""
    tables = [pet.GetNthNodeReference(_SEGMENTS, n) for n in range(pet.GetNumberOfNodeReferences(_SEGMENTS))]
    return [table for table in tables if table is not None]


def segmentTable(pet, segmentation):
    """The table node of a segmentation's means in a PET: that of an earlier time, or a new one."""
    for table in segmentsOf(pet):
        if table.GetNodeReference(_SEGMENTS) is segmentation:
            copyMarks(pet, table)
            return table
    name = f"SYNTHETIC {pet.GetAttribute(TRACER)} means in {segmentation.GetName()}"
    name = slicer.mrmlScene.GenerateUniqueName(name)
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    copyMarks(pet, table)
    table.SetNodeReferenceID(_SEGMENTS, segmentation.GetID())
    pet.AddNodeReferenceID(_SEGMENTS, table.GetID())
    return table


def forgetSegments(pet):
    """Remove a PET's tables of segments, whose numbers are of the run before; those that a copy of it has too stay."""
    every = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node is not pet]
    kept = [table for other in every for table in segmentsOf(other)]
    found = segmentsOf(pet)
    pet.RemoveNodeReferenceIDs(_SEGMENTS)
    for table in found:
        if table not in kept:
            slicer.mrmlScene.RemoveNode(table)


def segmentRows(segmentation, results):
    """Means of a result's maps in every segment, as rows for `fillRegions`.

    Voxels count that lie in the PET's brain, since it is 0 elsewhere; the share of the segment that they are is told.
    Of a measured PET and of the difference those count that it shows, since it is 0 outside its field of view; their
    share of the segment is told where it is smaller. Empty segments are left out.
    """
    values = {kind: slicer.util.arrayFromVolume(node) for kind, node in results.volumes.items()}
    size = math.prod(results.pet.GetSpacing()) * _growth(results.pet)
    rows, voxels = [], "Binary labelmap"
    if not segmentation.GetSegmentation().ContainsRepresentation(voxels):
        # surfaces or contours alone, as of an STL file
        segmentation.GetSegmentation().CreateRepresentation(voxels)
    for segmentID in segmentation.GetSegmentation().GetSegmentIDs():
        whole = _volume(segmentation, segmentID)
        if not whole:
            continue
        inside = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentID, results.pet) > 0
        chosen = inside & (values["pet"] > 0)
        share = min(1.0, float(chosen.sum()) * size / whole)
        share = 1.0 if share > 1 - ROUNDING else share
        row = {"title": segmentation.GetSegmentation().GetSegment(segmentID).GetName(), "share_in_view": share}
        for kind, column in SEGMENT_COLUMNS.items():
            if kind in values:
                counted = chosen & (values["measured"] != 0) if kind in OF_MEASURED and "measured" in values else chosen
                known = float(counted.sum()) / max(1, int(chosen.sum()))
                seen = share * known
                row[column] = float(values[kind][counted].mean()) if seen >= LEAST_IN_VIEW else math.nan
                if known < 1 and chosen.any():
                    row["share_measured"] = seen
        row["sd_in_region"] = float(values["pet"][chosen].std()) if share >= LEAST_IN_VIEW else math.nan
        rows.append(row)
    return rows


def _volume(segmentation, segmentID):
    """Cubic millimetres of a segment in the world, wherever it lies."""
    segment = segmentation.GetSegmentation().GetSegment(segmentID)
    image = segmentation.GetBinaryLabelmapInternalRepresentation(segmentID)
    if image is None or image.GetNumberOfPoints() == 0:
        return 0.0
    labels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, segmentID)
    return float((labels == segment.GetLabelValue()).sum()) * math.prod(image.GetSpacing()) * _growth(segmentation)


def _growth(node):
    """By which factor the transform that a node is under makes it larger, e.g. an atlas laid over a smaller brain.

    1 without a transform, and for a non-linear one, of which no single factor is known.
    """
    transform, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if transform is None or not transform.IsTransformToWorldLinear():
        return 1.0
    transform.GetMatrixTransformToWorld(matrix)
    return abs(matrix.Determinant())
