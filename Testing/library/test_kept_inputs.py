"""No command replaces what it reads, whatever --overwrite says."""

from __future__ import annotations

import shutil

import pytest

from RelAPETLib.cli import main
from RelAPETLib.dicom_export import MAP_NAME
from RelAPETLib.errors import OutputError
from RelAPETLib.models import import_model


@pytest.fixture
def said(capsys):
    def run(*words) -> str:
        assert main([str(word) for word in words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return run


def test_a_page_replaces_pages_alone(said, tmp_path):
    result, scan = tmp_path / "result", tmp_path / "scan.nii.gz"
    result.mkdir()
    files = [result / name for name in ("synthetic_pet.json", "synthetic_pet.nii.gz", "regions.tsv")]
    for file in (*files, scan):
        file.write_text("of value")
    report = ("report", result, "--overwrite", "--t1w", scan, "--out")
    assert "is an input and would be replaced; choose another --out" in said(*report, scan)
    for file in files:
        assert "exists and is no page; choose another --out" in said(*report, file)
    page = tmp_path / "page.html"
    for start in ("", "<!DOCTYPE html>\n<title>an earlier page</title>"):
        page.write_text(start)
        assert "no page" not in said(*report, page)  # it goes on, and finds that the result is none
    assert {file.read_text() for file in (*files, scan)} == {"of value"}


def test_a_link_to_an_input_is_that_input(said, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    scan.write_text("of value")
    (tmp_path / "link.html").symlink_to(scan)
    (tmp_path / "synthetic_pet.json").write_text("{}")
    words = said("report", tmp_path, "--t1w", scan, "--overwrite", "--out", tmp_path / "link.html")
    assert "is an input and would be replaced" in words
    assert scan.read_text() == "of value"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("volumes.tsv", ("evaluate", "--table")),
        ("tables.md", ("evaluate", "--train", "TABLE", "--table")),
        (MAP_NAME, ("dicom", "--pet", "pet.nii.gz", "--report", "--t1w")),
    ],
)
def test_an_export_replaces_none_of_its_inputs(said, tmp_path, name, words):
    file, table = tmp_path / name, "participant_id\ttracer\tsynthetic\tmeasured\n1\tTAU\ta.nii\tb.nii\n"
    for path in (file, tmp_path / "other.tsv"):
        path.write_text(table)
    words = [tmp_path / "other.tsv" if word == "TABLE" else word for word in words]
    assert "would be replaced; choose another --out" in said(*words, file, "--out", tmp_path, "--overwrite")
    assert file.read_text() == table


def test_a_log_is_not_appended_to_an_input(said, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    scan.write_text("of value")
    words = ("--t1w", scan, "--tracer", "TAU", "--out", tmp_path / "out")
    assert "choose another --log-file" in said("synthesize", *words, "--log-file", scan)
    assert scan.read_text() == "of value"


def test_a_model_replaces_no_folder_with_other_things(tiny_latent, tmp_path):
    target = tmp_path / "model"
    import_model(tiny_latent, target)
    packed = shutil.make_archive(str(target / "packed"), "zip", tiny_latent)
    for source in (tiny_latent, packed):
        with pytest.raises(OutputError, match="holds packed.zip beside a model, which would be lost; move it away"):
            import_model(source, target, overwrite=True)
    shutil.move(packed, tmp_path)
    assert import_model(tmp_path / "packed.zip", target, overwrite=True) == target
