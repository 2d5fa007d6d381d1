"""A page of pictures: every method's PET of the same three people beside the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from RelAPETLib.report import BURNED_IN
from RelAPETLib.tracers import TRACERS as FACTS
from RelAPETLib.whole_files import write_whole

from .people import Cohort, scan_of


def draw_page(cohort: Cohort, kept: dict[str, Path], tracer: str, path: Path, people: int = 3) -> None:
    """A PNG, unless no test person has the tracer: an axial slice through the middle, a row a person.

    The measured PET comes first, then one draw of each method.

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
    low, high = FACTS[tracer].suvr_window
    figure, axes = plt.subplots(len(places), len(columns), figsize=(1.2 * len(columns) + 0.8, 1.4 * len(places) + 0.9),
                                squeeze=False, layout="constrained")  # fmt: skip
    for column, (name, volumes) in enumerate(columns.items()):
        for row in range(len(places)):
            image = np.where(cohort.inside, volumes[row], np.nan)[::-1, :, volumes.shape[-1] // 2]
            shown = axes[row, column].imshow(image.T, origin="lower", vmin=low, vmax=high, cmap="inferno")
            axes[row, column].set(xticks=[], yticks=[], facecolor="black")
        axes[0, column].set_title(name if not column else f"{name}\nsynthetic", fontsize=7)
    for row, place in enumerate(places):
        axes[row, 0].set_ylabel(cohort.test.items[place].case, fontsize=7)
    words = f"{tracer} of simulated people, one draw of each method. {BURNED_IN}."
    figure.suptitle(f"{words} The person's right is on the left.", fontsize=8, wrap=True)
    figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01, label="SUVR")
    write_whole(path, lambda part: figure.savefig(part, dpi=130), suffix=".png")
    plt.close(figure)
