"""z-scores of a measured PET in the panel: the norms that the user chooses, and what comes of them."""

import json

import pytest
from cases import write_tiny_latent
from norms_cases import smooth_mean, write_norms
from slicer_cases import add_scan, done, load_volume, run, slice_marks
from slicer_module import FakeProcess, load_part

from RelAPETLib.cli import main


def test_norms_are_chosen_for_a_measured_pet(widget, scans, harness, tmp_path):
    harness.popups.answer("QFileDialog.getOpenFileName", str(tmp_path / "norms.json"))
    widget.ui.normsButton.click()
    assert widget.ui.normsEdit.text == widget.parameters.norms == str(tmp_path / "norms.json")
    widget.ui.fwhmSpinBox.value = 5.5
    widget.ui.synthesizeButton.click()
    assert "--norms" not in FakeProcess.made[-1].arguments, "there is no measured PET"
    FakeProcess.made[-1].end("cancelled", "")
    widget.parameters.reference = add_scan("measured")
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    assert process.option("--norms") == str(tmp_path / "norms.json") and process.option("--reference-fwhm") == "5.5"


@pytest.fixture
def scored(widget, pair, grid_case, tmp_path, capsys):
    """A result of the library's own command, of a measured PET with norms."""
    model = write_tiny_latent(tmp_path / "home" / "models" / "tiny").name
    widget.models.update()
    widget.parameters.model = model
    widget.parameters.reference = load_volume(grid_case["pet"], "patient PET")
    widget.parameters.norms = str(write_norms(tmp_path / "norms", smooth_mean()) / "norms.json")
    widget.ui.scaleReferenceCheckBox.checked = True
    widget.ui.synthesizeButton.click()
    process = FakeProcess.made[-1]
    capsys.readouterr()
    more = ["--preprocessed", "--steps", "1", "--samples", "2", "--device", "cpu", "--force", "--progress", "json"]
    assert main([*process.arguments, *more]) == 0, capsys.readouterr().out
    done(process, json.loads(capsys.readouterr().out.splitlines()[-1]))
    return widget.results.found


def test_the_measured_pet_alone_is_scored(widget, slicer, scored):
    from slicer_harness.views import texts_of

    node = scored.zscore
    assert node.GetName().startswith("z-score of the measured TAU PET") and "SYNTHETIC" not in node.GetName()
    assert node.GetAttribute("RelAPET.Synthetic") is None and node.GetAttribute("RelAPET.Model") is None
    assert node.GetVoxelValueQuantity().GetCodeValue() == "ZSCORE"
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-3.0, 3.0)
    widget.ui.showZScoreButton.click()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {c.GetForegroundVolumeID() for c in composites} == {node.GetID()}
    assert slice_marks(slicer) == {""}, "nothing synthetic is seen"
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    assert "measured TAU PET: z-score" in texts_of(view)
    words = widget.ui.shownLabel.text
    assert "z-score of the measured TAU PET against the norms that were given" in words and "SD of the norms" in words
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetTitleText() == "TAU\nSD of the norms"


def test_the_score_goes_into_the_report(widget, scored, tmp_path):
    widget.results.exports.savePdf(str(tmp_path / "page.pdf"))
    process = FakeProcess.made[-1]
    names = {path.name for path in process.names}
    assert "reference_z.nii.gz" in names
    assert main([*process.arguments, "--progress", "json"]) == 0 and (tmp_path / "page.pdf").exists()


def test_without_norms_there_is_no_score(widget, pair, saved):
    assert run(widget, saved).zscore is None and not widget.ui.showZScoreButton.enabled
    assert load_part("scene").MEASURED.keys() == {"measured", "zscore"}
