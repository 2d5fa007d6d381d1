"""Table nodes and the bar plot: metrics against a reference, and means by region or segment."""

import slicer
import vtk

_COLUMNS = {
    "synthetic_pet": "Synthetic",
    "reference": "Reference",
    "difference": "Difference",
    "sd_in_region": "SD of voxels",
}


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
    """Rows of ``regions.tsv`` (title and a column for each map)."""
    columns = [("Region", [row["title"] for row in rows])]
    for key, title in _COLUMNS.items():
        if rows and key in rows[0]:
            columns.append((f"{title} ({units})", [float(str(row[key]).replace("n/a", "nan")) for row in rows]))
    _fill(table, columns)
    table.SetAttribute("RelAPET.Synthetic", "1")


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


def plotRegions(table, title):
    """Chart node of a bar plot of a regions table, made anew or brought up to date."""
    chart = table.GetNodeReference("RelAPET.Chart")
    if chart is None:
        chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{table.GetName()} chart")
        table.SetNodeReferenceID("RelAPET.Chart", chart.GetID())
    for number in range(chart.GetNumberOfPlotSeriesNodes() - 1, -1, -1):
        slicer.mrmlScene.RemoveNode(chart.GetNthPlotSeriesNode(number))
    chart.RemoveAllPlotSeriesNodeIDs()
    colors = {"Synthetic": (0.85, 0.33, 0.1), "Reference": (0.2, 0.4, 0.7)}
    for index in range(1, table.GetNumberOfColumns()):
        name = table.GetColumnName(index)
        kind = name.split(" (")[0]
        if kind not in colors:
            continue
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetLabelColumnName(table.GetColumnName(0))
        series.SetYColumnName(name)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetColor(*colors[kind])
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(title)
    chart.SetYAxisTitle(table.GetColumnName(1) if table.GetNumberOfColumns() > 1 else "")
    chart.SetLegendVisibility(True)
    return chart
