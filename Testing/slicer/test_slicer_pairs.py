"""Whose T1w and T2-FLAIR a scene holds: pairs by study, and never of two people or two studies unasked."""

import pytest
from slicer_cases import add_patient, add_scan
from slicer_module import load_part


def pairs(slicer, **how):
    return load_part("pairs").findPairs(slicer.mrmlScene, **how)


def hierarchy_of(slicer):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def test_a_pair_for_every_study_of_every_patient(slicer):
    _, doe = add_patient("Doe^John", ["20240102", "20250304"])
    _, roe = add_patient("Roe^Jane", ["20240102"])
    found = pairs(slicer)
    assert [(p.title, p.day) for p in found] == [
        ("John Doe (id of Doe^John)", "2024-01-02"),
        ("John Doe (id of Doe^John)", "2025-03-04"),
        ("Jane Roe (id of Roe^Jane)", "2024-01-02"),
    ]
    assert all(p.sure for p in found) and found[0].person == found[1].person != found[2].person
    for pair, made in zip(found, (doe, doe, roe), strict=True):
        day = pair.day.replace("-", "")
        assert pair.t1w is made[day, "T1w"] and pair.t2f is made[day, "FLAIR"]


def test_a_flair_of_another_study_is_told_and_not_taken(slicer):
    patient, _ = add_patient("Doe^John", ["20240102"], contents=("T1w", "head"))
    study = hierarchy_of(slicer).CreateStudyItem(patient, "later")
    hierarchy_of(slicer).CreateItem(study, add_scan("FLAIR late"))
    first, second = pairs(slicer)
    assert first.problem == (
        "no T2-FLAIR; 'FLAIR late' of this person belongs to another study; neither name nor header says what 'head' is"
    )
    assert first.t2f is None and second.t1w is None and second.problem.startswith("no T1w; 'T1w' of this person")


def test_ambiguous_scans_are_listed_and_not_sure(slicer):
    _, made = add_patient("Doe^John", ["20240102"], contents=("T1w", "FLAIR", "MPRAGE repeat"))
    (pair,) = pairs(slicer)
    assert not pair.sure and not pair.problem and pair.t1w is made["20240102", "MPRAGE repeat"]
    assert pair.doubt == "2 T1w serve alike ('T1w', 'MPRAGE repeat'), the last is taken"


@pytest.mark.parametrize(
    ("contents", "doubt"),
    [
        (("T1w", "T1 post Gd", "FLAIR"), ""),
        (("T1 post Gd", "FLAIR"), "with contrast agent"),
        (("T1w", "T1 MPR tra", "FLAIR"), ""),
    ],
)
def test_the_better_of_several_is_no_doubt(slicer, contents, doubt):
    _, made = add_patient("Doe^John", ["20240102"], contents=contents)
    (pair,) = pairs(slicer)
    assert pair.t1w is made["20240102", contents[0]] and doubt in pair.doubt and pair.sure == (not doubt)


def test_headers_of_two_people_in_one_study_are_no_pair(slicer):
    _, made = add_patient("Doe^John", ["20240102"])
    for content, birth in (("T1w", "19500101"), ("FLAIR", "19600101")):
        made["20240102", content].SetAttribute("DICOM.PatientBirthDate", birth)
    (pair,) = pairs(slicer)
    assert pair.problem == "T1w and T2-FLAIR are of two people by their date of birth"


def test_loose_files_go_together_by_their_bids_names_or_folders(slicer):
    for name in ("sub-01_ses-1_T1w", "sub-01_ses-1_FLAIR", "sub-02_T1w"):
        add_scan(name)
    folder = hierarchy_of(slicer).CreateFolderItem(hierarchy_of(slicer).GetSceneItemID(), "patient 7")
    for name in ("T1", "FLAIR"):
        hierarchy_of(slicer).CreateItem(folder, add_scan(name))
    one, two, seven = pairs(slicer)
    assert one.sure and (one.title, one.day) == ("sub-01", "ses-1")
    assert two.problem == "no T2-FLAIR"
    assert seven.sure and seven.title == "patient 7"


def test_files_of_nobody_known_are_never_sure(slicer):
    add_scan("T1w"), add_scan("FLAIR")
    (pair,) = pairs(slicer)
    assert not pair.sure and pair.doubt == "whose these are is not known"


def test_results_and_other_images_are_no_scans(slicer):
    _, made = add_patient("Doe^John", ["20240102"], contents=("T1w", "FLAIR", "FLAIR lesions"))
    synthetic = add_scan("T1w SYNTHETIC")
    synthetic.SetAttribute("RelAPET.Synthetic", "1")
    (pair,) = pairs(slicer)
    assert pair.sure and pair.t2f is made["20240102", "FLAIR"]


def test_a_model_that_does_without_the_flair(slicer):
    add_patient("Doe^John", ["20240102"], contents=("T1w",))
    assert pairs(slicer)[0].problem == "no T2-FLAIR"
    (pair,) = pairs(slicer, needsT2f=False)
    assert not pair.problem and "from the T1w alone" in pair.doubt


def test_only_what_lies_below_an_item(slicer):
    add_patient("Doe^John", ["20240102", "20250304"])
    patient, made = add_patient("Roe^Jane", ["20240102"])
    (pair,) = pairs(slicer, below=patient)
    assert pair.t1w is made["20240102", "T1w"]
