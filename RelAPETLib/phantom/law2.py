"""The second law that ties simulated uptake to simulated anatomy, corrected against real people.

What shows in an MRI are the four `FACTORS`; anatomy and scans follow from them alone. Clinical values and hidden levels
follow from them as `hidden` says: an amyloid status and its level, tau where there is amyloid, three levels of TSPO. In
every tracer a region's uptake is

    SUVR = base + sum over components of load * level + n,     n ~ N(0, the region's own SD)

with the tables below, and 1 in cerebellar grey matter by definition. The tracers of a person share the hidden
levels.

Where the figures come from. `base` and `loads` were solved for through the rendering's linear map, so that regional
means of the images, over that of cerebellar grey, are those below; `Testing/benchmarks/results/law_vs_real.md` says
how well.

- PBR: means and SD of six controls and their two main components, CC0 data of Lois et al., 11C-PBR28
  (github.com/hookerlab/huntington-with-pbr28; Zenodo 1174364), at the images' resolution and the data's further 6 mm.
  The tracer is PBR28, not PBR111: no open data of that were found. There is no factor for the TSPO genotype: in the
  11C-PBR28 kinetics that come with kinfitr (mathesong/kinfitr) high- and mixed-affinity binders differ 1.34 to 1.40
  times in uptake, but only .95 to .99 times in its ratio to the cerebellum, which has the genotype too. White-matter
  disease: Colasanti et al., J Nucl Med 2014;55:1112-1118 (not verified), for multiple sclerosis.
- PIB: negative people as in dcccpy's and rPOP's mean map of florbetapir (figures only; flutemetamol's white matter is
  higher still), at the images' resolution. Positive minus negative as in their map of florbetaben, scaled to PiB: 100
  Centiloid are 1.067 SUVR of PiB (Klunk et al., Alzheimers Dement 2015;11:1-15) in the mean of frontal, parietal,
  lateral temporal cortex and precuneus. White matter has less than half of what that map shows.
- Amyloid status: in the Mayo Clinic Study of Aging 31 % of 483 people of 70 to 92 lie above a PiB ratio of 1.5, 44 %
  above 1.4 (Mielke et al., Neurology 2012;79:1570-1577); 10 to 33 % of healthy people of 60 to 80 and 37 to 60 % of
  those with mild cognitive impairment are positive (Jansen et al., JAMA 2015;313:1924-1938). Here 36 %. Below 10
  Centiloid there are no plaques, above 20 moderate ones, and visual reads turn at 26 (Amadoru et al., Alzheimers Res
  Ther 2020;12:22). Here negative people are about 2 +- 7, positive ones 30 to 110.
- What MRI tells of it: AUC .72 and .74 of hippocampal volume, with age, in 130 people with mild cognitive impairment
  and PiB (Korean KBASE cohort); .71 of hippocampal volume in late mild cognitive impairment (Trzepacz et al., Dement
  Geriatr Cogn Disord 2016;41:68-79). Of age, genotype and cognition .73 (Nguyen Ho et al., Alzheimers Dement
  2023;19:5506-5517). Here .725 for an ideal reader of the MRI.
- TAU: negative people as in dcccpy's mean map of flortaucipir (figures only), at the images' resolution. High tau only
  with amyloid, and tied to atrophy: Jack et al., Brain 2018;141:1517-1528; La Joie et al., Sci Transl Med
  2020;12:eaau5732. More in women: Buckley et al., JAMA Neurol 2019;76:542-551. Off-target uptake: Baker et al., Data
  Brief 2017;15:648-657.
- Age with atrophy, ventricles, white-matter lesions and amyloid; memory with atrophy, amyloid and tau: Fjell et al., J
  Neurosci 2009;29:15223-15231; de Leeuw et al., J Neurol Neurosurg Psychiatry 2001;70:9-14; Hanseeuw et al., JAMA
  Neurol 2019;76:915-924. The score stands for a composite like ADNI-MEM (Crane et al., Brain Imaging Behav
  2012;6:502-516).
- Regional noise, components' SD but for PBR's, and the strength of all links that have no figure above are ours.

Mielke, Amadoru, Trzepacz, Nguyen Ho and the Korean study were read in abstract; the other references of amyloid, tau,
age and memory are from memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..tracers import TRACERS
from .factors import COMPONENTS, REGIONS, Uptake
from .hidden import Clinical, Hidden, draw_hidden, draw_people, mean_levels

__all__ = ["LAWS", "PLAIN", "Clinical", "Hidden", "TracerLaw", "draw_person", "posterior", "posterior_mean"]


@dataclass(frozen=True)
class TracerLaw:
    """How one tracer's uptake follows from the hidden levels; tables in the order of `REGIONS`, SUVR before blurring.

    Attributes:
        amplitude: what the first component is, in words.
        base: uptake where every component is 0.
        loads: change per unit of each component (`_levels`).
        noise: SD of what is each region's own.
        lesion: what white-matter lesions add where the first component is 0, and its change per unit of that.
        csf, choroid: uptake of cerebrospinal fluid and of the ventricles' lining.
    """

    amplitude: str
    base: tuple[float, ...]
    loads: dict[str, tuple[float, ...]]
    noise: tuple[float, ...]
    lesion: tuple[float, float] = (0.0, 0.0)
    csf: float = 0.4
    choroid: float = 0.4

    def vectors(self, levels: dict[str, np.ndarray]) -> np.ndarray:
        """Uptake [n, 15] in the order of `COMPONENTS` for levels [n] of the components, without regional noise."""
        first = levels[next(iter(self.loads))]
        out = np.empty((len(first), len(COMPONENTS)))
        out[:, : len(REGIONS)] = self.base
        for name, load in self.loads.items():
            out[:, : len(REGIONS)] += np.outer(levels[name], load)
        out[:, len(REGIONS)] = self.lesion[0] + self.lesion[1] * first
        out[:, len(REGIONS) + 1 :] = self.csf, self.choroid
        return out


#          fron  pari  ltem  occ   mtl   prec  stri  thal  stem  cgm   wm    cwm
LAWS = {
    "TAU": TracerLaw(
        amplitude="the tau level, about 0 to 5",
        base=(1.15, 1.11, 1.34, 1.23, 1.33, 1.22, 1.43, 1.25, 1.05, 1.0, 1.07, 1.11),
        loads={
            "tau": (0.42, 0.62, 0.62, 0.47, 0.47, 0.59, 0.07, 0.06, 0.03, 0.0, 0.0, 0.0),
            "tau_pattern": (-0.09, -0.15, 0.03, -0.13, 0.14, -0.11, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            "tau_off_target": (0.0, 0.0, 0.04, 0.0, 0.08, 0.0, 0.20, 0.11, 0.07, 0.0, 0.07, 0.10),
        },
        noise=(0.04, 0.04, 0.04, 0.05, 0.06, 0.05, 0.07, 0.06, 0.04, 0.0, 0.03, 0.05),
        choroid=1.2,
    ),
    "PIB": TracerLaw(
        amplitude="in 100 Centiloid",
        base=(1.10, 1.00, 1.24, 1.13, 1.28, 1.32, 0.99, 0.93, 1.98, 1.0, 2.13, 2.47),
        loads={
            "amyloid": (2.03, 1.81, 1.84, 1.25, 0.54, 2.56, 0.88, 0.18, 0.05, 0.0, 0.30, 0.05),
            "white_matter_binding": (0.0, 0.0, 0.03, 0.0, 0.05, 0.03, 0.0, 0.06, 0.18, 0.0, 0.20, 0.25),
        },
        noise=(0.05, 0.05, 0.05, 0.05, 0.06, 0.06, 0.06, 0.06, 0.06, 0.0, 0.04, 0.08),
    ),
    "PBR": TracerLaw(
        amplitude="the global TSPO level, 0 +- 1",
        base=(1.05, 0.93, 1.06, 0.97, 1.15, 1.06, 0.91, 1.18, 1.17, 1.0, 0.70, 0.89),
        loads={
            "tspo_global": (0.06, 0.03, 0.02, 0.06, 0.05, 0.02, 0.09, 0.11, 0.09, 0.0, 0.03, 0.08),
            "tspo_cortex": (0.08, 0.06, 0.0, 0.09, -0.02, 0.03, 0.05, 0.05, -0.05, 0.0, -0.04, -0.04),
            "tspo_deep": (0.01, 0.01, 0.02, -0.01, -0.02, 0.02, 0.01, -0.04, -0.01, 0.0, 0.02, 0.02),
        },
        noise=(0.05, 0.04, 0.02, 0.06, 0.03, 0.03, 0.05, 0.06, 0.04, 0.0, 0.02, 0.05),
        lesion=(0.12, 0.05),
    ),
}  # fmt: skip
#: Law of a tracer without one of its own (glucose, blood flow): uptake of grey matter that atrophy lowers.
PLAIN = TracerLaw(
    amplitude="the level of atrophy, 0 +- 1",
    base=(1.15, 1.15, 1.05, 1.15, 0.90, 1.25, 1.15, 1.10, 0.80, 1.0, 0.55, 0.60),
    loads={"atrophy": (-0.06, -0.10, -0.10, -0.04, -0.08, -0.12, -0.02, -0.02, 0.0, 0.0, -0.02, 0.0)},
    noise=(0.04, 0.04, 0.04, 0.04, 0.04, 0.04, 0.05, 0.05, 0.04, 0.0, 0.03, 0.03),
)


def tracer_law(tracer: str) -> TracerLaw:
    """A tracer's law, `PLAIN` where it has none of its own."""
    return LAWS.get(tracer, PLAIN)


def uptake_vectors(tracer: str, hidden: Hidden, rng: np.random.Generator) -> np.ndarray:
    """Uptake [n, 15] in the order of `COMPONENTS` for hidden levels [n], regional noise included."""
    law = tracer_law(tracer)
    vectors = law.vectors(hidden.levels())
    vectors[:, : len(REGIONS)] += rng.standard_normal((len(vectors), len(REGIONS))) * law.noise
    return vectors


def posterior(
    factors: np.ndarray,
    tracers: Iterable[str],
    n: int,
    rng: np.random.Generator,
    *,
    clinical: Clinical | None = None,
) -> dict[str, np.ndarray]:
    """Joint draws [n, 15] of the uptake of several tracers of one person given the factors [4].

    Args:
        tracers: names; draw i of each belongs to the same hidden levels.
        clinical: also given, where recorded; numbers, of one person.
    """
    hidden = draw_hidden(np.tile(np.asarray(factors, float), (n, 1)), rng, clinical)
    return {tracer: uptake_vectors(tracer, hidden, rng) for tracer in tracers}


def posterior_mean(
    factors: np.ndarray, tracers: Iterable[str], clinical: Clinical | None = None
) -> dict[str, np.ndarray]:
    """Mean uptake [n, 15] of each tracer given the factors [n, 4] and the clinical values that are recorded."""
    levels = mean_levels(factors, clinical)
    return {tracer: tracer_law(tracer).vectors(levels) for tracer in tracers}


def draw_person(factors: np.ndarray, rng: np.random.Generator) -> tuple[Clinical, Hidden, dict[str, Uptake]]:
    """Clinical values, hidden levels and uptake of every tracer of a person with these factors [4]."""
    row = np.asarray(factors, float)[None]
    clinical, hidden = draw_people(row, rng)
    levels, expected = hidden.levels(), mean_levels(row)
    uptake = {}
    for tracer in TRACERS:
        law = tracer_law(tracer)
        first = next(iter(law.loads))
        true, mean = uptake_vectors(tracer, hidden, rng)[0], law.vectors(expected)[0]
        uptake[tracer] = Uptake.from_vectors(true, mean, levels[first][0], expected[first][0])
    return clinical.of(0), hidden.of(0), uptake
