"""A page of pictures: every method's PET of the same three people beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from RelAPETLib.report import BURNED_IN
from RelAPETLib.tracers import TRACERS as FACTS
from RelAPETLib.whole_files import write_whole

from .people import Cohort, scan_of

#: Most columns side by side; more go below.
WIDEST = 12


def draw_page(cohort: Cohort, kept: dict[str, Path], tracer: str, path: Path, people: int = 3) -> None:
    """A PNG, unless no test person has the tracer: an axial slice through the middle, a row a person.

    The measured PET comes first, then one draw of each method; many methods make several bands, one below the other.

    Args:
        kept: by method, a run's ``pictures.npz``.
        tracer: whose PET.
        people: the first so many test people with that tracer.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    places = [place for place, item in enumerate(cohort.test.items) if item.tracer == tracer][:people]
    if not places:
        return
    columns = {"measured": np.stack([scan_of(cohort.test, place).suvr for place in places])}
    for name, file in kept.items():
        with np.load(file) as volumes:
            if tracer in volumes:
                columns[name] = volumes[tracer]
    low, high = FACTS[tracer].contrast_window or FACTS[tracer].display_window
    bands = -(-len(columns) // WIDEST)
    wide = -(-len(columns) // bands)  # bands of about one length
    size = (1.2 * wide + 0.8, bands * (1.4 * len(places) + 0.3) + 0.6)
    figure, axes = plt.subplots(bands * len(places), wide, figsize=size, squeeze=False, layout="constrained")
    for empty in axes[(bands - 1) * len(places) :].flat:
        empty.set_axis_off()
    for number, (name, volumes) in enumerate(columns.items()):
        band, column = divmod(number, wide)
        own = axes[band * len(places) : (band + 1) * len(places), column]
        for axis, volume in zip(own, volumes, strict=True):
            image = np.where(cohort.inside, volume, np.nan)[::-1, :, volume.shape[-1] // 2]
            shown = axis.imshow(image.T, origin="lower", vmin=low, vmax=high, cmap="inferno")
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[], facecolor="black")
        own[0].set_title(f"{name}\nsynthetic" if number else name, fontsize=7)
        for axis, place in zip(own, places, strict=True):
            if not column:
                axis.set_ylabel(cohort.test.items[place].case, fontsize=7)
    words = f"{tracer} of simulated people, one draw of each method. {BURNED_IN}."
    figure.suptitle(f"{words} The person's right is on the left.", fontsize=8, wrap=True)
    figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01, label="SUVR")
    write_whole(path, lambda part: figure.savefig(part, dpi=130), suffix=".png")
    plt.close(figure)
