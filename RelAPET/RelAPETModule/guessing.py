"""Which volumes of a scene are a T1w and a T2-FLAIR, by their names and DICOM descriptions, and of one person."""

import re
from dataclasses import dataclass

from slicer.i18n import tr as _

from . import people
from .attributes import KIND, SIDECAR, SYNTHETIC, TRACER, readDict
from .library import library

T1W, T2F, OTHER = "t1w", "t2f", "other"
#: Slices further apart than this (mm) are of a 2-D scan, which is taken when there is no 3-D one.
THICK = 2.5


def _pattern(words, parts=""):
    """Regular expression of whole words, and of parts that stand anywhere; ``~`` is a separator or none."""
    whole, anywhere = "|".join(words.split()), "|".join(parts.split())
    text = f"(?<![a-z])(?:{whole})(?![a-z])" + (f"|{anywhere}" if anywhere else "")
    return re.compile(text.replace("~", "[-_ ]?"), re.IGNORECASE)


_TO = r"(?:to|in|on|onto|into|reg\w*|align\w*|coreg\w*)"
_NAMED = r"(?:t1w?|mp2?rage|t2~flair|flair|t2w?|mni\w*)"
# "T1_to_FLAIR", "FLAIR in T1 space", "space-T1w_FLAIR", "FLAIR T1 aligned": what was moved onto what is not what it is.
_TARGET = _pattern(
    rf"{_TO}[-_\s]+(?:the[-_\s]+)?{_NAMED}(?:[-_\s]*space)?(?![0-9]) space-?(?:t1w?|flair(?=_)|mni\w*|orig|native)",
    rf"(?<=[a-z]{{2}})2{_NAMED}(?![a-z0-9]) (?<![a-z0-9])t1w?[-_\s]+(?:aligned|registered) (?<=flair)~t1w?~space",
)
_FLAIR = _pattern(r"t2~f(?![0-9]) da~fl tirm spc~ir", "flair dark~fl")
_T1 = _pattern(
    r"(?:v?3d|ir|s?t1w?)?~(?:tfl3?d?[0-9]*|tfe|vibe|ffe3d|3d~ffe|3d~geir|lava|quick3d|3d~fast~fe) fl3d\w*"
    r" mpr(?=-?[0-9]+[-_]anon) mpr(?:-r)?(?=.*(?:grad~warp|n3(?![0-9])))",
    r"(?<![0-9])(?<![a-z]{2})t1w?(?![0-9]) mp~2?~rage bravo spgr fgre unit1",
)
_T2 = _pattern(r"[a-z]?t2(?![0-9])[a-z]*")
# Images that are no scan, or another kind of scan.
_OTHER = _pattern(
    # segmentations and probability maps; maps, and images made of images; other scans
    r"""
    aseg aparc\w* wmparc [dp]?seg\w* probseg label\w* mask rois? lesions? wmh parc\w* atlas tissues? gtv pve\w* prob

    t1~(?:map|mapping|rho|images?) relaxo\w* ratio inv~[0-9] (?:min|mean)?~mips? minip sub(?=$|[\s_)])
    diff(?:erence)? residual jacobian (?<!grad\s)warp bias~field phase pha (?:b1|field)~map

    e?adc [a-z]*dwi dti trace\w* col~fa fa(?=$|[-_\s]*map) tensor diffusion\w* ivim perf\w* pwi r?r?cb[fv] mtt ttp
    tmax dsc dce p?c?asl swi swan swip venobold qsm t2~(?:star|gre|ffe) hemo loc localizers? localiser scout survey
    smartbrain 3~pl(?:ane)? aahead\w* calib\w* asset cal tof mra mrv angio\w* fiesta ciss bold rest rsfmri epi ep2d\w*
    mrs csi dir psir stir pd b~tfe b~ffe suvr? pet fdg pib amyloid florbeta\w* flute\w* av~(?:45|1451) mk~6240 pbr\w*
    ct ctac mrac spect dose umap report
    """,
    r"""
    brain~mask probabilit (?<![a-z0-9])r?c[1-6](?=sub|t[12]|[-_]) (?<![a-z])m?w?p[1-3](?=sub|t1) molli subtract
    t1w?[-_\s/]?t2w?(?!f)(?=$|[-_\s]*ratio) t2\s?\* screen~save screenshot
    """,
)
_REFORMAT = _pattern(r"mp[rv]s? mp[rv]~(?:tra|cor|sag|ax)\w* reformat\w* refmt rfmt recon\w* curved resampled?")
_WITHOUT = _pattern(
    r"(?:pre|non|no|not|without|ohne|wo|w/o|sans|sin|senza|un)[-_\s]*(?:iv[-_\s]*)?"
    r"(?:contrast\w*|gado\w*|gad|gd|km|ce|inj\w*|enhanced|mdc|civ|\+?c) ce-none nativ\w*"
)
_CONTRAST = _pattern(
    "gd gad gado ce km mdc civ gbca dotarem gadovist gadavist prohance clariscan magnevist multihance inj(?:ect\\w*)?"
    " post(?!~(?:op|surg|rad|rt|tx|treat|proc|mort|chemo))",
    r"gadolin contrast enhanced \+\s?(?:c|gd|gad|km|ce)(?![a-z]) (?<![a-z])c\+ t1~w?~(?:c|ce|gd|km)(?![a-z])",
)


@dataclass(frozen=True)
class Kind:
    """role: T1W, T2F, OTHER (something else, or no scan), or None (the words say nothing).

    contrast: with contrast agent; reformat: computed from a scan in another plane.
    """

    role: str = None
    contrast: bool = False
    reformat: bool = False


def classify(text):
    """`Kind` of one series name or description."""
    text = _spaced(text)
    kind = _TARGET.sub(" ", text)
    flair, t1, t2 = _FLAIR.search(kind), _T1.search(kind), _T2.search(kind)
    if _OTHER.search(kind):
        role = OTHER
    elif flair:
        role = OTHER if t1 and not t2 else T2F  # a T1 FLAIR is neither
    elif t1 and not (t2 and t2.start() < t1.start()):
        role = T1W
    else:
        role = OTHER if t2 else None
    adni = re.search(r"grad ?warp|mpr-?[0-9]+[-_]anon", kind, re.IGNORECASE)  # there MPR means MPRAGE
    return Kind(role, hasContrast(text), bool(_REFORMAT.search(kind)) and not adni)


def hasContrast(text):
    """Whether words say that a contrast agent was given."""
    return bool(_CONTRAST.search(_WITHOUT.sub(" ", _spaced(text))))


def _spaced(text):
    """``AxT1PostGd`` as ``Ax T1 Post Gd``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text or "")


def kindOf(volume):
    """`Kind` of a volume: by its name; where that says nothing by its series' description, then by its protocol."""
    tags = people.tagsOf(volume)
    if tags.get("Modality", "MR") not in ("MR", ""):
        return Kind(OTHER)
    image = tags.get("ImageType", "").upper()
    if re.search(r"\\(MIP|MIN ?IP|MNIP|ADC|LOCALIZER|MPR_CURVED|SUBTRACT)", image):
        return Kind(OTHER)
    agent = bool(tags.get("ContrastBolusAgent", "").strip())
    described = (volume.GetName(), tags.get("SeriesDescription"))
    for text in (*described, tags.get("ProtocolName")):
        kind = classify(text)
        if kind.role is not None:
            # One scanner's protocol is named "brain w/wo contrast" for all its series, so it tells nothing of this one.
            contrast = agent or any(map(hasContrast, described))
            return Kind(kind.role, contrast, kind.reformat or "\\MPR" in image or "\\REFORMATTED" in image)
    return Kind(None, agent or any(map(hasContrast, described)))


@dataclass(frozen=True)
class Candidate:
    """A volume that may be an input; of several the one with the largest `rank` is taken."""

    volume: object
    kind: Kind
    origin: people.Origin
    number: int

    @property
    def rank(self):
        thick = max(self.volume.GetSpacing()) > THICK
        return not self.kind.contrast, not self.kind.reformat, not thick, self.number


def candidates(mrmlScene):
    """T1w and T2-FLAIR of the scene in the order of their coming. Label maps and what this module made are none."""
    found = []
    for number in range(mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        volume = mrmlScene.GetNthNodeByClass(number, "vtkMRMLScalarVolumeNode")
        plain = volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not (
            volume.GetAttribute(SYNTHETIC) or volume.GetAttribute(KIND)
        )
        if plain and volume.GetImageData() is not None:
            kind = kindOf(volume)
            if kind.role in (T1W, T2F):
                found.append(Candidate(volume, kind, people.originOf(volume), number))
    return found


def guessInputs(mrmlScene, t1w=None, t2f=None, after=-1):
    """(T1w, T2-FLAIR), each None when no volume says so; given ones are kept, and both are of one person.

    The person who was loaded last is taken. Of several volumes one without contrast agent comes first, then one of the
    other's study, an original before a reformat, a 3-D before a 2-D scan, and a newer one.

    after: look only at candidates that came after the one of this number.
    """
    chosen = {T1W: t1w, T2F: t2f}
    given = [volume for volume in chosen.values() if volume is not None]
    every = [c for c in candidates(mrmlScene) if c.number > after and c.volume not in given]
    anchor = people.originOf(given[0]) if given else (every[-1].origin if every else None)
    for role in (T1W, T2F):
        if chosen[role] is None:
            fitting = [c for c in every if c.kind.role == role and people.surelyNotTwo(c.origin, anchor)]
            if fitting:
                chosen[role] = max(
                    fitting, key=lambda c: (c.rank[0], people.sameStudy(c.origin, anchor), *c.rank[1:])
                ).volume
    return chosen[T1W], chosen[T2F]


def tracerOf(volume):
    """Short name of a measured PET's tracer, as far as this module, a BIDS sidecar or a BIDS name tells; or None."""
    tracers, storage = library("tracers"), volume.GetStorageNode()
    files = f"{volume.GetName()} {(storage.GetFileName() or '') if storage is not None else ''}"
    spelled = re.findall(r"(?<![A-Za-z0-9])trc-([A-Za-z0-9]+)", files)
    for words in ((volume.GetAttribute(TRACER),), spelled, (readDict(volume, SIDECAR).get("TracerName"),)):
        if told := tracers.told_tracers(*words):
            return told[0]
    return None


def misfits(request):
    """Lines on inputs of a `logic.Request` that are known to be something else than what they were chosen as.

    Not on a synthetic PET as the measured one, whatever says so: that the library asks about, and it can be accepted.
    """
    found = []
    for title, volume in (("T1w", request.t1w), ("T2-FLAIR", request.t2f)):
        if volume is not None and (volume.GetAttribute(SYNTHETIC) or volume.GetAttribute(KIND)):
            words = _("the {what} '{name}' belongs to a result; choose the MRI")
            found.append(words.format(what=title, name=volume.GetName()))
    pet = request.reference
    if pet is None:
        return found
    if pet.GetAttribute(KIND) == "zscore":
        found.append(_("the reference PET is a map of z-scores; choose a measured PET"))
    elif pet.GetAttribute(KIND) not in (None, "measured", "pet"):
        found.append(_("the reference PET is another map of a result; choose a measured PET"))
    elif tracerOf(pet) not in (None, request.tracer) and not request.comparesMany:
        words = _("the measured PET is of {own}, not of {asked}; choose its own tracer, or no measured PET")
        found.append(words.format(own=tracerOf(pet), asked=request.tracer))
    return found


def describeContrast(volume):
    """What says that a volume was made with a contrast agent: "name", "header", or None."""
    if volume is None:
        return None
    tags = people.tagsOf(volume)
    if hasContrast(volume.GetName()) or hasContrast(tags.get("SeriesDescription")):
        return "name"
    return "header" if tags.get("ContrastBolusAgent", "").strip() else None
