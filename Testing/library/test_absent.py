"""Files that a link or a pointer stands for, as in a data set whose contents were not fetched: each reader says so."""

import nibabel as nib
import numpy as np
import pytest

from RelAPETLib.absent import why_missing, why_no_file
from RelAPETLib.cohort.bids import participants
from RelAPETLib.cohort.pairs import made_by
from RelAPETLib.cohort.table import read_rows
from RelAPETLib.cohort.visits import find_visits
from RelAPETLib.errors import InputError
from RelAPETLib.evaluation.transforms import read_transform
from RelAPETLib.evaluation.tsv import read_tsv
from RelAPETLib.jsonfiles import read_json
from RelAPETLib.regions.atlas import read_atlas
from RelAPETLib.regions.lookup import lookup_beside, read_lookup
from RelAPETLib.suvr import stated_units
from RelAPETLib.volumes import count_frames, file_sha256, read_volume, second_file

LOCKED = "../.git/annex/objects/Xk/1j/MD5E-s1--0/MD5E-s1--0"


def _link(path, target=LOCKED):
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("no links on this disk")
    return path


READERS = {
    "a.nii.gz": read_volume,
    "b.nii": count_frames,
    "dicom_folder": read_volume,
    "c.dcm": read_volume,
    "e.dcm": file_sha256,
    "atlas.mgz": lambda path: read_atlas(path, "a", "T1w"),
    "lut.txt": read_lookup,
    "t.csv": lambda path: read_rows(path, ("subject",)),
    "t.tsv": lambda path: read_tsv(path, ("a",)),
    "s.json": read_json,
    "participants.tsv": lambda path: participants(path.parent),
    "to_mni.h5": read_transform,
    "cohort": find_visits,
    "synthetic_pet.json": lambda path: made_by(path.with_suffix(".nii.gz")),
}


@pytest.mark.parametrize("name", READERS)
def test_a_link_to_what_was_not_fetched_is_told(tmp_path, name):
    path = _link(tmp_path / name)
    with pytest.raises(
        InputError, match=r"a link to a file that is not here; .* git annex get or datalad get"
    ) as caught:
        READERS[name](path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match="a link to a file that is not here; copy the file itself"):
        READERS[name](_link(path, "elsewhere"))


@pytest.mark.parametrize("name", ["lut.txt", "t.csv", "s.json", "participants.tsv", "a.nii.gz", "c.dcm"])
@pytest.mark.parametrize("content", ["/annex/objects/MD5E-s1--0\n", LOCKED])
def test_a_pointer_is_told(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}: a git-annex pointer.* git annex get"):
        READERS[name](tmp_path / name)


def test_what_stands_beside_a_scan_is_not_passed_over(tmp_path):
    """A sidecar, a label table and the second file of a pair that were not fetched count as there."""
    nib.save(nib.Nifti1Pair(np.ones((4, 4, 4), np.float32), np.eye(4)), tmp_path / "pet.img")
    for name, read in (
        ("pet.json", lambda: stated_units(tmp_path / "pet.img")),
        ("pet.tsv", lambda: read_lookup(lookup_beside(tmp_path / "pet.img"))),
        ("pet.img", lambda: read_volume(tmp_path / "pet.hdr")),
        ("pet.img", lambda: second_file(tmp_path / "pet.hdr")),
    ):
        (tmp_path / name).unlink(missing_ok=True)
        _link(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: a link to a file that is not here"):
            read()


def test_a_chain_of_links_is_followed(tmp_path):
    _link(tmp_path / "scan.nii")
    assert "datalad get" in why_missing(_link(tmp_path / "again.nii", "scan.nii"))
    assert why_missing(_link(tmp_path / "loop.nii", "loop.nii")).startswith("a link to a file that is not here; copy")
    assert why_missing(tmp_path / "none") == why_missing("a\0b") == "no such file"
    assert why_no_file(tmp_path) == "not a plain file" and why_no_file(__file__) is None
