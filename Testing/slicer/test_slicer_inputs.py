"""Which volumes the panel takes, whose they are, and what it says of them; over stand-in widgets.

The volumes are a few voxels, since their names, tags and places in the subject hierarchy are what matters.
"""

import numpy as np
import pytest
from slicer_module import FakeProcess, load_part

# The guess: names of real series of Siemens, GE, Philips, Canon and Hitachi, and of research data.

T1W = """
    t1_mprage_sag_p2_iso | 3: t1_mprage_sag | MPRAGE | Accelerated Sagittal MPRAGE | MP-RAGE REPEAT | MEMPRAGE_4e_RMS
    MPRAGE ADNI GRAPPA2 | t1_mpr_ns_sag | tfl3d1_16ns | t1_fl3d_sag | t1_vibe_tra_dixon | t1_space_sag_p2_iso
    t1_mp2rage_sag_p3_iso_UNI_Images | mp2rage_UNI-DEN | sub-01_UNIT1 | T1 MPRAGE TRA ND | Sag 3D BRAVO
    SAG T1 BRAVO 1MM | Ax FSPGR 3D | SAG IR-FSPGR | AX 3D T1 SPGR | EFGRE3D | LAVA | Sag T1 Cube | AX T1 PROPELLER
    3D_T1_TFE | sT1W_3D_TFE_SENSE | WIP T1W_3D_TFE_iso | T1W_3D_FFE | 3D TFE | T1 FFE tra | FFE3D_T1 | 3D FASTFE
    T1W 3D GEIR | 3D-GEIR | T1 SE sag | AxT1 | T1 | sub-01_ses-2_T1w | sub-01_acq-mprage_run-1_T1w
    ADNI_002_S_0295_MR_MPR__GradWarp__B1_Correction__N3__Scaled | MT1; GradWarp; N3m | OAS1_0001_MR1_mpr-1_anon
    OAS30001_MR_d0129_T1w | T1_p2_1mm_fov256_sag_TI_880 | 20252_T1_brain | T1_to_T2FLAIR | BraTS20_Training_001_t1
    t1n | T1 pre contrast | T1 ohne KM | SAG T1 post op | T1 w/o contrast
"""
T2F = """
    t2_tirm_tra_dark-fluid | 5: t2_spc_da-fl_sag_p2_iso | t2_space_dark-fluid_sag | t2_spc_ir_sag_fs | tirm_tra
    t2_blade_dark-fluid_tra | Dark Fluid | SPACE FLAIR | 3D_FLAIR_SPACE | FLAIR | AX T2 FLAIR
    Ax T2-FLAIR FS PROPELLER | Sag CUBE T2 FLAIR | CUBE FLAIR | Sagittal 3D FLAIR | Sag3DFLAIR | AxT2FLAIR
    VISTA FLAIR | 3D Brain VIEW_FLAIR | T2W_FLAIR_SPAIR | sT2W_FLAIR | FLAIR 3D MPV | sub-01_FLAIR
    sub-01_space-T1w_FLAIR | FLAIR_to_T1 | FLAIR in T1 space | FLAIR_T1space | T2FLAIR T1 aligned | flair2t1
    T2_FLAIR_sag_p2_1mm_fs_ELL | 20253_T2_FLAIR_brain | OAS30001_MR_d0129_FLAIR | t2f | BraTS20_Training_001_flair
"""
OTHER = """
    Sag T1 FLAIR | AX T1 FLAIR | T1FLAIR cor | t1_tirm_tra_dark-fluid | AX_T1_POST_GD_FLAIR | FLAIR_seg_lesions
    FLAIR_lesion_mask | FLAIR WMH | FLAIR tissue labels | T1w_brainmask | T1_seg | sub-01_desc-brain_mask | ROI T1
    sub-01_label-GM_probseg | T1_GM_prob | aparc+aseg | c1sub-01_T1w | mwp1sub-01_T1w | BraTS20_Training_001_seg
    t1_mp2rage_sag_p3_iso_INV1 | t1_mp2rage_sag_p3_iso_INV2 | sub-01_inv-1_MP2RAGE | sub-01_T1map
    t1_mp2rage_sag_T1_Images | T1w/T2w ratio | Phase T1 MPRAGE | T1 subtraction | MIP T1 post | screen save FLAIR
    ADC | eADC | ep2d_diff_3scan_trace_p2_ADC | DWI b1000 | T1 DTI | t2_swi_tra | SWAN | SWI mIP | perfusion rCBF
    DSC_perf | ASL | BOLD rest | MRA TOF 3D | DIR 3D | 3-Plane Loc | localizer | AAHead_Scout | Survey
    T2 TSE tra | AX T2 | t2w | T2* GRE | Brain PD | FDG PET | PIB SUVR | TAU PET | CT head
"""
NOTHING = "head | Volume | st123 | fl | 5: Unnamed Series | dataset_7 | scan_1 | img003 | brain"
CONTRAST = """
    T1 post Gd | AX T1 +C | T1 C+ | t1_mprage_sag_km | t1 nach KM | T1W GADO | SAG BRAVO POST | T1 with contrast
    T1ce | t1c | BraTS20_Training_001_t1ce | sub-01_ce-gadolinium_T1w | MPRAGE +GD | T1 mdc | T1 INJ
    t1_vibe_tra_post | AxT1PostGd | 3D T1 TFE CE | T1 gad | T1_CONTRAST
"""


def names(table):
    return [name.strip() for name in table.replace("\n", "|").split("|") if name.strip()]


def test_series_names(harness):
    classify = load_part("guessing").classify
    wrong = []
    for role, table in (("t1w", T1W), ("t2f", T2F), ("other", OTHER), (None, NOTHING), ("t1w", CONTRAST)):
        for name in names(table):
            kind = classify(name)
            contrast = table is CONTRAST or name in ("AX_T1_POST_GD_FLAIR", "MIP T1 post")
            if (kind.role, kind.contrast) != (role, contrast):
                wrong.append((name, kind))
    assert not wrong
    assert len(names(T1W + T2F + OTHER + CONTRAST)) > 150


@pytest.mark.parametrize("name", ["t1_mprage_MPR_cor", "T1 MPR tra", "T1 reformat"])
def test_a_reformat_comes_after_the_original(slicer, name):
    original, _ = volume(slicer, "MPRAGE"), volume(slicer, name)
    assert load_part("guessing").guessInputs(slicer.mrmlScene)[0] is original


def test_of_several_the_plain_thin_and_new_one_is_taken(slicer):
    guess = load_part("guessing").guessInputs
    thick = volume(slicer, "T1 SE sag", spacing=(1, 1, 5))
    assert guess(slicer.mrmlScene) == (thick, None)
    contrast = volume(slicer, "MPRAGE post Gd")
    assert guess(slicer.mrmlScene) == (thick, None), "with contrast agent only when there is nothing else"
    thin = volume(slicer, "MPRAGE")
    volume(slicer, "T1 TSE tra", spacing=(1, 1, 5))
    assert guess(slicer.mrmlScene) == (thin, None)
    newer = volume(slicer, "MPRAGE repeat")
    assert guess(slicer.mrmlScene)[0] is newer and contrast.GetName() == "MPRAGE post Gd"


def test_descriptions_and_tags_are_read_where_the_name_says_nothing(slicer):
    guessing = load_part("guessing")
    node = volume(slicer, "5: Unnamed Series")
    node.SetAttribute("DICOM.SeriesDescription", "Ax T2 FLAIR")
    assert guessing.kindOf(node).role == "t2f"
    node.SetAttribute("DICOM.Modality", "SEG")
    assert guessing.kindOf(node).role == "other"
    protocol = volume(slicer, "Volume")
    protocol.SetAttribute("DICOM.ProtocolName", "T1 BRAIN W WO CONTRAST")
    assert guessing.kindOf(protocol) == guessing.Kind("t1w")
    protocol.SetAttribute("DICOM.ContrastBolusAgent", "GADAVIST")
    assert guessing.kindOf(protocol).contrast
    adc = volume(slicer, "T1 maps")
    adc.SetAttribute("DICOM.ImageType", "DERIVED\\PRIMARY\\DIFFUSION\\ADC")
    assert guessing.kindOf(adc).role == "other"


# Volumes with a patient and a study


def volume(slicer, name, spacing=(1, 1, 1), node=None):
    node = node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ones((4, 4, 4), np.float32))
    node.SetSpacing(*spacing)
    return node


def dicom(slicer, name, patient, study="1", date="20240105", person="", **how):
    """A volume that stands in the subject hierarchy as Slicer's DICOM module puts it there."""
    node = volume(slicer, name, **how)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    series, study = f"{patient}.{study}.{item}", f"{patient}.{study}"
    hierarchy.SetItemUID(item, "DICOM", series)
    slicer.vtkSlicerSubjectHierarchyModuleLogic.InsertDicomSeriesInHierarchy(hierarchy, patient, study, series)
    owner, parent = hierarchy.GetItemByUID("DICOM", patient), hierarchy.GetItemByUID("DICOM", study)
    hierarchy.SetItemAttribute(owner, "DICOM.PatientID", patient)
    if person or not hierarchy.GetItemAttribute(owner, "DICOM.PatientName"):
        hierarchy.SetItemAttribute(owner, "DICOM.PatientName", person or "No name")
    hierarchy.SetItemAttribute(parent, "DICOM.StudyInstanceUID", study)
    hierarchy.SetItemAttribute(parent, "DICOM.StudyDate", date)
    return node


def chosen(widget):
    return tuple(node.GetName() if node else None for node in (widget.parameters.t1w, widget.parameters.t2f))


def choose(selector, node):
    """As a user does, in the list."""
    selector.setCurrentNode(node)
    selector.nodeActivated.emit(node)


def by_subject_hierarchy(slicer):
    return dicom(slicer, "T1", "A"), dicom(slicer, "FLAIR", "B"), "patient ID"


def by_attributes(slicer):
    t1w, t2f = volume(slicer, "T1"), volume(slicer, "FLAIR")
    t1w.SetAttribute("PatientID", "A")
    t2f.SetAttribute("PatientID", "B")
    return t1w, t2f, "patient ID"


def by_names(slicer):
    t1w, t2f = volume(slicer, "T1"), volume(slicer, "FLAIR")
    t1w.SetAttribute("DICOM.PatientName", "Doe^John")
    t2f.SetAttribute("DICOM.PatientName", "Roe^Jane")
    return t1w, t2f, "name"


def by_birth(slicer):
    t1w, t2f = dicom(slicer, "T1", "A"), volume(slicer, "FLAIR")
    for node, born in ((t1w, "19500101"), (t2f, "19800202")):
        node.SetAttribute("PatientID", "A")
        node.SetAttribute("PatientBirthDate", born)
    return t1w, t2f, "date of birth"


def by_bids(slicer):
    return volume(slicer, "sub-01_T1w"), volume(slicer, "sub-02_FLAIR"), "BIDS subject"


def by_hand(slicer):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    made = []
    for name, patient in (("T1", "mine"), ("FLAIR", "yours")):
        owner = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
        made.append(volume(slicer, name))
        item = hierarchy.GetItemByDataNode(made[-1]) or hierarchy.CreateItem(owner, made[-1])
        hierarchy.SetItemParent(item, owner)
    return *made, "patient in the subject hierarchy"


def by_database(slicer, monkeypatch):
    class Database:
        def instanceValue(self, uid, tag):
            return {"0010,0020": f"patient {uid[-1]}", "0008,0020": "20200101"}.get(tag, "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    t1w, t2f = volume(slicer, "T1"), volume(slicer, "FLAIR")
    t1w.SetAttribute("DICOM.instanceUIDs", "1.2.31 1.2.32")
    t2f.SetAttribute("DICOM.instanceUIDs", "1.2.42 1.2.43")
    return t1w, t2f, "patient ID"


@pytest.mark.parametrize(
    "how", [by_subject_hierarchy, by_attributes, by_names, by_birth, by_bids, by_hand, by_database]
)
def test_two_people_are_refused_unless_accepted(widget, slicer, how, monkeypatch):
    """In the panel by a question, in Logic by an error that says what accepts it."""
    t1w, t2f, what = how(slicer, monkeypatch) if how is by_database else how(slicer)
    people, logic = load_part("people"), load_part("logic")
    with pytest.raises(logic.SynthesisError, match=f"of two people by their {what}") as caught:
        widget.logic.start(logic.Request(t1w, t2f, "TAU"), logic.Listener())
    assert caught.value.ending.acceptedBy == people.TWO_PEOPLE and not FakeProcess.made
    choose(widget.ui.t1wSelector, t1w)
    choose(widget.ui.t2fSelector, t2f)
    assert f"of two people by their {what}" in widget.ui.inputsNoteLabel.text
    widget.ui.synthesizeButton.click()
    assert not FakeProcess.made and not widget.ui.questionFrame.isHidden()
    assert "of two people" in widget.ui.questionLabel.text
    widget.ui.questionYesButton.click()
    (process,) = FakeProcess.made
    assert people.TWO_PEOPLE not in process.arguments
    process.end("cancelled", "x")


def test_a_reference_of_somebody_else_is_refused_too(widget, slicer):
    logic = load_part("logic")
    inputs = dicom(slicer, "T1", "A"), dicom(slicer, "FLAIR", "A"), dicom(slicer, "PET", "B")
    with pytest.raises(logic.SynthesisError, match="T1w 'T1' and measured PET 'PET' are of two people"):
        widget.logic.start(logic.Request(inputs[0], inputs[1], "TAU", reference=inputs[2]), logic.Listener())


def test_one_person_is_not_refused(slicer):
    """Nor where nothing is known, and whichever way a name is written."""
    people, logic = load_part("people"), load_part("logic")
    plain = volume(slicer, "T1"), volume(slicer, "FLAIR")
    assert people.compare(logic.Request(*plain, "TAU")) == (None, [])
    plain[0].SetAttribute("PatientName", "Doe^John")
    plain[1].SetAttribute("DICOM.PatientName", "DOE, John")
    assert people.compare(logic.Request(*plain, "TAU")) == (None, [])
    for node in plain:
        node.SetAttribute("PatientID", "17")
    plain[1].SetAttribute("DICOM.PatientName", "Doe^J")
    assert people.compare(logic.Request(*plain, "TAU")) == (None, []), "the ID decides"
    one, two = dicom(slicer, "T1", "A"), volume(slicer, "FLAIR")
    assert people.compare(logic.Request(one, two, "TAU")) == (None, [])


@pytest.mark.parametrize(
    ("dates", "words"),
    [
        (("20200101", "20220102"), "2 years apart (2020-01-01 and 2022-01-02)"),
        (("20200101", "20200420"), "4 months apart"),
        (("20200101", "20200111"), "10 days apart"),
        (("20200101", "20200102"), "1 day apart"),
        (("20200101", "20200101"), "from two studies"),
        (("", "nonsense"), "from two studies"),
    ],
)
def test_two_studies_of_one_person_are_told(widget, slicer, dates, words):
    t1w, t2f = dicom(slicer, "T1", "A", "1", dates[0]), dicom(slicer, "FLAIR", "A", "2", dates[1])
    choose(widget.ui.t1wSelector, t1w)
    choose(widget.ui.t2fSelector, t2f)
    assert f"T1w and T2-FLAIR are {words}" in widget.ui.inputsNoteLabel.text
    assert widget.ui.synthesizeButton.enabled
    choose(widget.ui.t2fSelector, dicom(slicer, "FLAIR", "A", "1", dates[0]))
    assert widget.ui.inputsNoteLabel.isHidden()


def test_person_and_date_stand_beside_each_selector(widget, slicer):
    choose(widget.ui.t1wSelector, dicom(slicer, "T1", "1234", person="Doe^John <b>&"))
    choose(widget.ui.t2fSelector, volume(slicer, "sub-07_ses-b_FLAIR"))
    choose(widget.ui.referenceSelector, volume(slicer, "PET"))
    assert widget.ui.t1wOriginLabel.text == "John <b>& Doe (1234), study of 2024-01-05"
    assert widget.ui.t2fOriginLabel.text == "sub-07, ses-b" and widget.ui.referenceOriginLabel.isHidden()
    import qt

    assert widget.ui.t1wOriginLabel.textFormat == qt.Qt.PlainText, "a name's markup is shown, not obeyed"


# Newly loaded people


def test_guessed_inputs_follow_the_next_patient(widget, slicer, harness):
    dicom(slicer, "T1 of A", "A")
    dicom(slicer, "FLAIR of A", "A")
    harness.process_events()
    assert chosen(widget) == ("T1 of A", "FLAIR of A")
    widget.parameters.reference = dicom(slicer, "PET of A", "A")
    dicom(slicer, "T1 of B", "B")
    harness.process_events()
    assert chosen(widget) == ("T1 of B", None), "never one of A and one of B"
    assert widget.parameters.reference is None and not widget.ui.synthesizeButton.enabled
    dicom(slicer, "FLAIR of B", "B")
    harness.process_events()
    assert chosen(widget) == ("T1 of B", "FLAIR of B") and widget.ui.synthesizeButton.enabled


def test_the_patient_may_become_known_after_the_volume(widget, slicer, harness):
    """Slicer's DICOM module adds the node first and its patient later."""
    for name in ("T1", "FLAIR"):
        dicom(slicer, f"{name} of A", "A")
    harness.process_events()
    late = volume(slicer, "T1 of B")
    harness.process_events()
    assert chosen(widget)[0] == "T1 of A"
    dicom(slicer, "T1 of B", "B", node=late)
    harness.process_events()
    assert chosen(widget) == ("T1 of B", None)


def test_without_patients_both_new_scans_make_a_new_person(widget, slicer, harness):
    for name in ("a_T1w", "a_FLAIR"):
        volume(slicer, name)
    harness.process_events()
    volume(slicer, "b_T1w")
    harness.process_events()
    assert chosen(widget) == ("a_T1w", "a_FLAIR")
    assert "'b_T1w' was loaded later and is not chosen" in widget.ui.inputsNoteLabel.text
    volume(slicer, "b_FLAIR")
    harness.process_events()
    assert chosen(widget) == ("b_T1w", "b_FLAIR") and widget.ui.inputsNoteLabel.isHidden()


def test_what_the_user_chose_stays_with_a_note(widget, slicer, harness):
    a = dicom(slicer, "T1 of A", "A"), dicom(slicer, "FLAIR of A", "A")
    harness.process_events()
    choose(widget.ui.t1wSelector, a[0])
    dicom(slicer, "T1 of B", "B", person="Roe^Jane")
    dicom(slicer, "FLAIR of B", "B")
    harness.process_events()
    assert chosen(widget) == ("T1 of A", "FLAIR of A")
    note = widget.ui.inputsNoteLabel.text
    assert "'T1 of B' (Jane Roe (B), study of 2024-01-05) was loaded later and is not chosen" in note
    choose(widget.ui.t2fSelector, a[1])
    harness.process_events()
    assert widget.ui.inputsNoteLabel.isHidden(), "who chose has seen what there is"


def test_a_guess_follows_the_users_choice_of_another_patient(widget, slicer, harness):
    for patient in ("A", "B"):
        dicom(slicer, f"T1 of {patient}", patient)
        dicom(slicer, f"FLAIR of {patient}", patient)
    harness.process_events()
    assert chosen(widget) == ("T1 of B", "FLAIR of B")
    choose(widget.ui.t1wSelector, slicer.util.getNode("T1 of A"))
    harness.process_events()
    assert chosen(widget) == ("T1 of A", "FLAIR of A")


def test_known_and_unknown_people_are_not_put_together_unasked(widget, slicer, harness):
    volume(slicer, "FLAIR")
    harness.process_events()
    dicom(slicer, "T1", "A")
    harness.process_events()
    assert chosen(widget) == (None, "FLAIR")
    assert "'T1' (A, study of 2024-01-05) was loaded later and is not chosen" in widget.ui.inputsNoteLabel.text


def test_none_that_the_user_chose_stays_until_something_comes(widget, slicer, harness):
    t1w, t2f = volume(slicer, "T1"), volume(slicer, "FLAIR")
    harness.process_events()
    choose(widget.ui.t2fSelector, None)
    t1w.SetName("T1 renamed")
    widget.inputs.schedule()
    harness.process_events()
    assert chosen(widget) == ("T1 renamed", None) and t2f.GetName() == "FLAIR"
    volume(slicer, "FLAIR 2")
    harness.process_events()
    assert chosen(widget) == ("T1 renamed", "FLAIR 2")


def test_a_sample_makes_way_for_a_patient(widget, slicer, harness):
    widget.samples._choose(volume(slicer, "simulated T1w"), volume(slicer, "simulated FLAIR"))
    harness.process_events()
    for name in ("T1 of A", "FLAIR of A"):
        dicom(slicer, name, "A")
    harness.process_events()
    assert chosen(widget) == ("T1 of A", "FLAIR of A")


def test_a_result_of_another_scan_is_not_written_over(widget, slicer):
    people = load_part("people")
    one, two = volume(slicer, "T1"), volume(slicer, "another T1")
    pet = volume(slicer, "SYNTHETIC TAU PET (T1)")
    assert people.ownOutput(pet, two) is pet, "a volume that the user made"
    pet.SetAttribute("RelAPET.Kind", "pet")
    people.remember(pet, load_part("logic").Request(one, None, "TAU", accepted=frozenset([people.TWO_PEOPLE])), one)
    assert people.ownOutput(pet, one) is pet and people.ownOutput(pet, two) is None
    assert "two people" in pet.GetAttribute("RelAPET.Accepted")
    widget.parameters.t1w, widget.parameters.output = two, pet
    assert widget.request().output is None


# Contrast agent


@pytest.mark.parametrize("how", ["name", "description", "header"])
def test_a_t1w_with_contrast_agent_is_told(widget, slicer, how):
    node = volume(slicer, "T1 post Gd & <b>" if how == "name" else "T1")
    if how == "description":
        node.SetAttribute("DICOM.SeriesDescription", "T1 +C")
    if how == "header":
        node.SetAttribute("DICOM.ContrastBolusAgent", "Gadovist")
    choose(widget.ui.t1wSelector, node)
    text = widget.ui.inputsNoteLabel.text
    assert "is with contrast agent" in text and ("header" in text) == (how == "header")
    assert "<b>" not in text and (how != "name" or "&amp; &lt;b" in text)
    choose(widget.ui.t1wSelector, volume(slicer, "T1 pre contrast"))
    assert widget.ui.inputsNoteLabel.isHidden()
