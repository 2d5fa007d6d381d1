"""Sample data: a real T1w + FLAIR pair by URL and checksum, and a simulated person made on this computer."""

import json
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .attributes import SIDECAR
from .scene import readVolume

CATEGORY = "RelAPET"
SAMPLE = "RelAPET T1w and FLAIR"
_BASE = (
    "https://raw.githubusercontent.com/muschellij2/open_ms_data/65704901f60650824565aa5a4818611aa89716f4/"
    "longitudinal/raw/patient01/"
)
#: Node name: (file, SHA-256). CC-BY, Lesjak et al., Neuroinformatics 2016, University of Ljubljana.
FILES = {
    "open_ms_T1w": ("study1_T1W.nii.gz", "e5c495fa0bc6f61f7eb23cd985177f1338748a84e1be295e0639a9b97975ad4b"),
    "open_ms_FLAIR": ("study1_FLAIR.nii.gz", "3a2ab438704776ad75b67cd8609740a14782cc590b26fc695dff4216ad67d231"),
}


def registerSampleData():
    """Tell Slicer's Sample Data module of the real pair; a Slicer without that module goes without."""
    try:
        import SampleData
    except ImportError:
        return
    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):
        logic.registerCustomSampleDataCategory(CATEGORY, title=CATEGORY)
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        sampleDescription="Raw T1w and T2-FLAIR of one person, defaced; CC-BY, University of Ljubljana",
        thumbnailFileName=str(Path(__file__).resolve().parent.parent / "Resources" / "Icons" / "RelAPET.png"),
        uris=[_BASE + file for file, _sum in FILES.values()],
        fileNames=[f"RelAPET_{file}" for file, _sum in FILES.values()],
        nodeNames=list(FILES),
        checksums=[f"SHA256:{digest}" for _file, digest in FILES.values()],
        loadFileTypes=["VolumeFile"] * len(FILES),
    )


def downloadSample():
    """[T1w, FLAIR] nodes of the real pair, verified by SHA-256.

    Raises RuntimeError when it cannot be had, e.g. without internet.
    """
    import SampleData

    logic = SampleData.SampleDataLogic()
    if logic.sourceForSampleName(SAMPLE) is None:
        registerSampleData()
    try:
        nodes = logic.downloadSamples(SAMPLE)
    except Exception as error:  # whatever the network, the checksum or the reader raised
        raise RuntimeError(_("the sample could not be downloaded: {why}").format(why=error)) from error
    if not nodes or len(nodes) != len(FILES) or not all(nodes):
        raise RuntimeError(_("the sample could not be downloaded; is there internet? Try a simulated person instead."))
    return list(nodes)


def loadPerson(folder, tracer):
    """(T1w, FLAIR, PET) nodes of the first person of a simulated BIDS data set.

    PET is None where that of the tracer lacks, and where all tracers are meant.
    """
    from .library import library

    subject = sorted(Path(folder).glob("sub-*"))[0]
    known = library("tracers").TRACERS
    spellings = known[tracer].bids if tracer in known else ()
    wanted = {
        "T1w": [*subject.rglob("anat/*_T1w.nii.gz")],
        "FLAIR": [*subject.rglob("anat/*_FLAIR.nii.gz")],
        f"{tracer} PET": [p for s in spellings for p in subject.rglob(f"pet/*_trc-{s}_*pet.nii.gz")],
    }
    nodes = []
    for name, paths in wanted.items():
        node = None
        if paths:
            node = slicer.vtkMRMLScalarVolumeNode()
            readVolume(paths[0], node)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(f"simulated {name}"))
            sidecar = paths[0].with_name(paths[0].name.replace(".nii.gz", ".json"))
            if sidecar.is_file():
                node.SetAttribute(SIDECAR, json.dumps(json.loads(sidecar.read_text(encoding="utf-8"))))
            node = slicer.mrmlScene.AddNode(node)
            node.CreateDefaultDisplayNodes()
        nodes.append(node)
    return nodes
