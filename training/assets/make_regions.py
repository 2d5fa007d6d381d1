"""Make ``Resources/regions/``: an approximate label map on the model grid, from tissue maps and landmarks.

Run from a checkout: ``python -m training.assets.make_regions``; ``--table`` writes the table alone. Nothing is drawn by
hand and no atlas is copied: grey and white matter come from `Resources/template`, and landmarks that the anatomical
literature describes split them. The works in `SOURCES` say which landmark or structure is meant; its coordinates and
radii here (MNI, mm RAS) are approximations of our own and were not copied from, or compared with, numbers in them.
The template is left-right symmetric and every rule sees only ``|x|``, so the map is symmetric too.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from RelAPETLib.grid import MNI_GRID, array_to_image, image_to_array
from RelAPETLib.resources import resource

OUT = Path(__file__).resolve().parents[2] / "Resources" / "regions"

#: Tentorium: height z (mm) at |x| = 0, 10, 20, 30, 40, 50, 60 for each y, read off the template's T1 to about 3 mm.
TENTORIUM_X = (0, 10, 20, 30, 40, 50, 60)
TENTORIUM = {
    -20: (-45, -45, -45, -48, -52, -58, -60),
    -30: (-18, -18, -24, -34, -42, -46, -50),
    -40: (-1, -8, -18, -26, -31, -36, -42),
    -50: (3, -4, -13, -20, -26, -30, -34),
    -55: (1, -5, -13, -19, -24, -29, -33),
    -65: (-5, -9, -15, -18, -22, -26, -29),
    -75: (-13, -14, -17, -18, -20, -23, -26),
    -85: (-20, -20, -20, -20, -21, -23, -25),
    -110: (-26, -26, -26, -26, -26, -26, -26),
}

#: Ellipsoids (|x|, y, z centre; radii), mm.
BRAINSTEM = (((0, -24, -14), (18, 12, 10)), ((0, -26, -32), (19, 14.5, 17)), ((0, -40, -54), (13, 10, 14)))
MEDULLA_END = ((0, -46, -68), (11, 9, 12))
THALAMUS = (((11, -18, 8), (10, 13, 9)), ((15, -27, 6), (9, 7, 9)))
STRIATUM = (
    ((12, 14, 5), (7.5, 11, 12)),  # caudate head
    ((16, 0, 18), (6, 14, 7)),  # caudate body
    ((10, 11, -8), (6, 6, 5)),  # accumbens
    ((26, 4, 1), (8, 18, 12)),  # putamen
    ((30, -10, 1), (4, 9, 9)),  # posterior putamen
    ((19, -4, -1), (6.5, 9, 7)),  # pallidum
)
MESIAL_TEMPORAL = (
    ((23, -4, -20), (9, 8, 9)),  # amygdala
    ((25, -12, -21), (9.5, 7, 9)),  # hippocampal head
    ((28, -20, -15), (9, 8, 8)),  # hippocampal body
    ((29, -29, -9), (8, 8, 8)),
    ((24, -37, -1), (9, 6, 8)),  # hippocampal tail
    ((23, -6, -32), (9, 11, 9)),  # entorhinal and perirhinal cortex
    ((24, -20, -25), (9, 9, 8)),  # parahippocampal gyrus
    ((22, -32, -16), (10, 9, 8)),
    ((17, -42, -5), (9, 7, 8)),
)
#: Grey matter in here that no ellipsoid above takes gets no label: hypothalamus, claustrum and basal forebrain, and
#: the ventricles' walls, where the grey matter map shows partial volume.
DEEP = (
    ((0, -14, 2), (33, 30, 22)),
    ((16, 2, 19), (8, 22, 8)),
    ((25, -45, 8), (9, 13, 13)),
    ((26, -58, 3), (5, 14, 4)),
)

#: `Resources/regions/README.md` says how each was verified.
SOURCES = {
    "sulci": "Ono, Kubik, Abernathey, Atlas of the Cerebral Sulci, Thieme 1990",
    "hand": "Yousry et al., Brain 1997;120:141-157 (hand knob of the precentral gyrus, at the central sulcus)",
    "gyri": "Desikan et al., NeuroImage 2006;31:968-980 (gyral borders)",
    "aal": "Tzourio-Mazoyer et al., NeuroImage 2002;15:273-289 (sulci and regions of one brain in MNI space)",
    "mtl": "Amunts et al., Anat Embryol 2005;210:343-352 (maps of amygdala, hippocampus, entorhinal cortex)",
    "bg": "Prodoehl et al., NeuroImage 2008;39:956-965, volume and pages not verified (masks of the basal ganglia)",
    "thalamus": "Krauth et al., NeuroImage 2010;49:2053-2062 (mean of histological thalami)",
    "suit": "Diedrichsen, NeuroImage 2006;33:127-138; Schmahmann et al., NeuroImage 1999;10:233-260 (cerebellum)",
    "dosenbach": "Dosenbach et al., Science 2010;329:1358-1361 (coordinates at the lobes' borders)",
    "seitzman": "Seitzman et al., NeuroImage 2020;206:116290 (coordinates used as a check)",
    "template": "Fonov et al., NeuroImage 2011;54:313-327 (tissue maps, T1)",
}

#: label, name, title, tissue, how it is defined, keys of SOURCES
TABLE = (
    (1, "frontal", "Frontal lobe", "grey", "in front of the central sulcus; above the Sylvian line; with insula and "
     "anterior and middle cingulate (y > -22)", ("hand", "sulci", "aal", "dosenbach")),
    (2, "parietal", "Lateral and superior parietal lobe", "grey", "between central sulcus, Sylvian line and the line "
     "from the parieto-occipital sulcus to the preoccipital notch", ("hand", "sulci", "aal")),
    (3, "lateral_temporal", "Temporal lobe without its mesial part", "grey", "below the Sylvian line, in front of the "
     "preoccipital notch line, above the tentorium; with fusiform gyrus and temporal pole", ("sulci", "gyri", "aal")),
    (4, "occipital", "Occipital lobe", "grey", "behind the parieto-occipital sulcus (medial) and the line to the "
     "preoccipital notch (lateral), above the tentorium", ("sulci", "gyri", "aal", "dosenbach")),
    (5, "mesial_temporal", "Hippocampus, parahippocampal and entorhinal cortex, amygdala", "grey", "nine ellipsoids "
     "along amygdala, hippocampus and parahippocampal gyrus, within grey matter", ("mtl", "seitzman")),
    (6, "precuneus_posterior_cingulate", "Precuneus and posterior cingulate cortex", "grey", "medial grey matter "
     "(|x| < 18) from y = -22 (cingulate) or -42 (precuneus) back to the parieto-occipital sulcus", ("gyri", "aal")),
    (7, "striatum", "Caudate, putamen, accumbens and pallidum", "grey", "six ellipsoids; not cerebrospinal fluid",
     ("bg", "seitzman")),
    (8, "thalamus", "Thalamus", "grey", "two ellipsoids; not cerebrospinal fluid", ("thalamus", "seitzman")),
    (9, "brainstem", "Midbrain, pons and medulla", "mixed", "four ellipsoids; not cerebrospinal fluid",
     ("aal", "suit")),
    (10, "cerebellar_grey", "Cerebellar cortex", "grey", "grey matter below the tentorium, not brainstem", ("suit",)),
    (11, "white_matter", "Cerebral white matter", "white", "white matter map > 0.6 above the tentorium outside the "
     "deep nuclei", ("template",)),
    (12, "cerebellar_white", "Cerebellar white matter", "white", "white matter map > 0.5 below the tentorium, not "
     "brainstem", ("suit", "template")),
)  # fmt: skip


def template_map(name: str) -> np.ndarray:
    """Template volume [X, Y, Z], float32."""
    return image_to_array(sitk.ReadImage(str(resource("template", f"{name}.nii.gz")))).astype(np.float32)


def coordinates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|x|, y, z in mm, broadcastable to the grid."""
    axes = [o + s * np.arange(n) for o, s, n in zip(MNI_GRID.origin, MNI_GRID.spacing, MNI_GRID.shape, strict=True)]
    return np.abs(axes[0])[:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def in_ellipsoids(where, ellipsoids) -> np.ndarray:
    """Boolean map of the union of ellipsoids ((centre), (radii))."""
    inside = np.zeros(MNI_GRID.shape, bool)
    for centre, radii in ellipsoids:
        inside |= sum(((w - c) / r) ** 2 for w, c, r in zip(where, centre, radii, strict=True)) <= 1
    return inside


def below_tentorium(where) -> np.ndarray:
    """Where z is below the tentorium's table, interpolated linearly over |x| and y."""
    ax, y, z = where
    ys = np.array(sorted(TENTORIUM))
    heights = np.array([np.interp(ax[:, 0, 0], TENTORIUM_X, TENTORIUM[int(v)]) for v in ys])  # [y, |x|]
    surface = np.array([np.interp(y[0, :, 0], ys, heights[:, i]) for i in range(ax.shape[0])])
    return (z < surface[:, :, None]) & (y < -20)


def central_sulcus(where) -> np.ndarray:
    """y of the central sulcus: rises backwards from the operculum through the hand knob (38, -24, 56) to the vertex."""
    ax, _, z = where
    lateral = np.interp(z, (5, 30, 50, 72), (-4, -13, -21, -29))
    return lateral - np.clip((20 - ax) / 10, 0, 1) * 6 * (z > 40)


def sylvian_line(where) -> np.ndarray:
    """z of the border between temporal lobe (below) and frontal and parietal lobes (above), lower near the pole."""
    ax, y, _ = where
    lateral = np.interp(y, (-68, -42, -25, -10, 5, 20, 40), (16, 18, 10, 4, -4, -17, -35))
    return lateral - 0.4 * np.clip(42 - ax, 0, 20) * (y > -5)


def occipital_front(where) -> np.ndarray:
    """y of the occipital lobe's front: parieto-occipital and anterior calcarine sulcus, laterally the notch line."""
    ax, _, z = where
    medial = np.interp(z, (-20, 2, 10, 42, 60), (-52, -52, -60, -81, -92))
    lateral = np.interp(z, (-25, -15, 40, 60), (-59, -61, -76, -88))
    share = np.clip((ax - 18) / 20, 0, 1)
    return (1 - share) * medial + share * lateral


def cortex(where) -> np.ndarray:
    """Lobe label (1 to 6) of every point of the cerebrum; only grey matter keeps it."""
    ax, y, z = where
    front_of_cs = y > central_sulcus(where)
    label = np.where(front_of_cs, 1, 2).astype(np.uint8)
    insula = (ax > 27) & (ax < 44) & (y > -25) & (y < 26) & (z > -12) & (z < 20)
    cingulate = (ax < 18) & (y > -22) & (z < 48)
    label[np.broadcast_to(insula | cingulate, label.shape)] = 1
    temporal = (z < sylvian_line(where)) & (ax > 20) & ~(insula & (z > -4 - 0.35 * y) & (ax < 41))
    pole = (ax > 13) & (y > -25) & (y < 13) & (z < -22)
    label[temporal | pole] = 3
    behind = y < occipital_front(where)
    posterior = (ax < 18) & (z > 3) & (((y < -22) & (z < 47)) | ((y < -42) & (z < 64)))
    label[posterior & ~behind] = 6
    label[behind] = 4
    label[np.broadcast_to((ax <= 22) & (y < -25) & (y >= -52) & (z <= 3), label.shape) & ~behind] = 5
    return label


def make_labels() -> np.ndarray:
    """The label map [X, Y, Z], uint8."""
    t1, grey, white, mask = (template_map(n) for n in ("t1", "grey_matter", "white_matter", "brain_mask"))
    where = coordinates()
    grey_tissue, tissue = (grey > 102) & (grey >= white), (t1 > 150) & (mask > 0)
    below = below_tentorium(where)
    brainstem = in_ellipsoids(where, (*BRAINSTEM, MEDULLA_END)) & (where[2] < -7) & tissue
    above = ~below & ~brainstem

    labels = np.zeros(MNI_GRID.shape, np.uint8)
    cerebral = above & (mask > 0)
    labels[cerebral & (white > 153)] = 11
    cortical = cerebral & grey_tissue & ~in_ellipsoids(where, DEEP)
    labels[cortical] = cortex(where)[cortical]
    labels[cerebral & grey_tissue & in_ellipsoids(where, MESIAL_TEMPORAL)] = 5
    labels[cerebral & tissue & in_ellipsoids(where, STRIATUM) & ((grey > 60) | in_ellipsoids(where, STRIATUM[5:]))] = 7
    labels[cerebral & tissue & in_ellipsoids(where, THALAMUS)] = 8
    labels[below & ~brainstem & (mask > 0) & grey_tissue] = 10
    labels[below & ~brainstem & (mask > 0) & (white > 128) & ~grey_tissue] = 12
    labels[brainstem] = 9
    return labels


def write_table(path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(("label", "name", "title", "tissue", "definition", "source"))
        for label, name, title, tissue, definition, keys in TABLE:
            writer.writerow((label, name, title, tissue, definition, "; ".join(SOURCES[k] for k in keys)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="write regions.tsv alone")
    OUT.mkdir(parents=True, exist_ok=True)
    if parser.parse_args().table:
        write_table(OUT / "regions.tsv")
        return
    labels = make_labels()
    sitk.WriteImage(array_to_image(labels), str(OUT / "regions.nii.gz"), useCompression=True)
    write_table(OUT / "regions.tsv")
    for label, name, *_ in TABLE:
        print(f"{label:2d} {name:32s} {(labels == label).sum() / 1000:7.1f} cm3")


if __name__ == "__main__":
    main()
