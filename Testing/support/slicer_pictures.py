"""Pictures of the Slicer module for the README: the panel and its slice views, after a real synthesis.

.venv/bin/python Testing/support/slicer_pictures.py [Resources/pictures]
.venv/bin/python Testing/support/slicer_pictures.py --all-tracers PICTURES
.venv/bin/python Testing/support/slicer_pictures.py --desk PICTURES

A simulated person, the demo model, the module's own panel and scene code, over the project's test harness: MRML and
slice compositing are Slicer's, the widgets are stand-ins. The pictures say so.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "Testing" / "support"), str(ROOT)]

VIEWS = ("Red", "Green", "Yellow")
SIZE, COLUMN_SIZE = (420, 420), (330, 420)
LABEL = "test harness rendering, not a Slicer screenshot; a simulated person; synthetic PET, research only"


def labelled(pixels: np.ndarray, title: str) -> Image.Image:
    """A picture with a line above that says what it shows and how it was made."""
    height = 40
    picture = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + height), (30, 30, 30))
    picture.paste(Image.fromarray(np.ascontiguousarray(pixels[..., :3])), (0, height))
    draw = ImageDraw.Draw(picture)
    draw.text((8, 3), title, (255, 255, 255), ImageFont.load_default(15))
    draw.text((8, 23), LABEL, (255, 210, 90), ImageFont.load_default(11))
    return picture


def panel_pixels(widget, height: int = 980) -> np.ndarray:
    """The panel as its stand-in widgets draw it."""
    widget.parent.resize(480, height)
    return grabbed(widget.parent)


def grabbed(window) -> np.ndarray:
    """What a widget shows."""
    image = window.grab().toImage()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "panel.png")
        image.save(path)
        return np.array(Image.open(path).convert("RGB"))


def synthesize(harness, widget) -> None:
    """What a user clicks: Simulate a person, Synthesize."""
    harness.process_events(lambda: not widget.tasks.running, 300)
    widget.ui.phantomButton.click()
    harness.process_events(lambda: not widget.tasks.running, 900)
    widget.ui.synthesizeButton.click()
    harness.process_events(lambda: not widget.logic.running, 1800)
    if widget.results.found is None:
        raise SystemExit(f"no result: {widget.ui.statusLabel.text}")


def resize(names, size) -> None:
    """Give views their size before anything is fitted into them."""
    import slicer

    for name in names:
        slicer.app.layoutManager().sliceWidget(name).sliceLogic().ResizeSliceNode(*size)


def slices(names=VIEWS, size=SIZE) -> np.ndarray:
    """Slice views side by side, as the module fitted them."""
    from slicer_harness.rendering import render_view

    gap = np.full((size[1], 4, 3), 90, np.uint8)
    return np.hstack([part for name in names for part in (render_view(name, size, fit=False), gap)][:-1])


def side_by_side(widget) -> np.ndarray:
    """What the button of that name shows."""
    import slicer

    widget.ui.compareButton.click()
    names = sorted(name for name in slicer.app.layoutManager().sliceViewNames() if name.startswith("RelAPET"))
    resize(names, COLUMN_SIZE)
    widget.views.lay()
    pixels = slices(names, COLUMN_SIZE)
    widget.ui.compareButton.click()
    return pixels


TITLES = {
    "pet": "Synthetic TAU PET over the T1w",
    "difference": "Synthetic minus measured (here simulated) TAU PET",
    "uncertainty": "Spread of the samples, not the error",
    "departure": "Departure from the training people's synthetic PET, in SD: not a disease map",
}


def maps(widget, out: Path, kinds) -> None:
    """A picture of each of these maps, and one of the views side by side."""
    for kind in kinds:
        widget.results.show(kind, fit=True)
        labelled(slices(), TITLES[kind]).save(out / f"{kind}.png", optimize=True)
    widget.results.show("pet")
    title = "MRI, measured PET, synthetic PET, difference: linked"
    labelled(side_by_side(widget), title).save(out / "side_by_side.png", optimize=True)


def one_tracer(widget, out: Path) -> None:
    """A picture of each map of the one result, and one of the panel."""
    maps(widget, out, TITLES)
    labelled(panel_pixels(widget), "The RelAPET panel").save(out / "panel.png", optimize=True)


def wear(dark: bool) -> None:
    """Slicer's light or dark theme: Qt's Fusion style with such a palette."""
    from PySide6.QtGui import QColor, QPalette
    from PySide6.QtWidgets import QApplication

    QApplication.setStyle("Fusion")
    colours = {
        "Window": "#353535", "WindowText": "#ffffff", "Base": "#232323", "AlternateBase": "#353535", "Text": "#ffffff",
        "Button": "#353535", "ButtonText": "#ffffff", "ToolTipBase": "#353535", "ToolTipText": "#ffffff",
        "Highlight": "#2a82da", "HighlightedText": "#000000", "PlaceholderText": "#a0a0a0",
    }  # fmt: skip
    palette = QApplication.style().standardPalette()
    for role, colour in colours.items() if dark else ():
        palette.setColor(getattr(QPalette, role), QColor(colour))
    for role in ("WindowText", "Text", "ButtonText") if dark else ():
        palette.setColor(QPalette.Disabled, getattr(QPalette, role), QColor("#7f7f7f"))
    QApplication.setPalette(palette)
    QApplication.processEvents()  # widgets hear of it by an event


def desk(harness, widget, out: Path) -> None:
    """Twelve pictures: the panel before and after, the list of models and many patients in both themes, four views."""
    for theme in ("light", "dark"):
        wear(theme == "dark")
        widget.updatePanel()
        labelled(panel_pixels(widget), f"The panel at the start, {theme}").save(
            out / f"start_{theme}.png", optimize=True
        )
    synthesize(harness, widget)
    resize(VIEWS, SIZE)
    for theme in ("light", "dark"):
        wear(theme == "dark")
        widget.updatePanel()
        title = f"The panel with a result, {theme}"
        labelled(panel_pixels(widget, 1020), title).save(out / f"result_{theme}.png", optimize=True)
        widget.ui.modelManagerButton.click()
        harness.process_events(lambda: not widget.tasks.running, 60)
        window = widget.manager.ui.modelTable.window()
        labelled(grabbed(window), f"All models, {theme}").save(out / f"models_{theme}.png", optimize=True)
        window.close()
        widget.ui.batchSection.collapsed = False
        widget.ui.findPairsButton.click()
        harness.process_events(lambda: not widget.tasks.running, 60)
        labelled(grabbed(widget.ui.batchSection), f"Many patients, {theme}").save(
            out / f"patients_{theme}.png", optimize=True
        )
        widget.ui.batchSection.collapsed = True
    wear(False)
    maps(widget, out, ("pet", "difference", "departure"))


def all_tracers(widget, out: Path) -> None:
    """A picture of each tracer's PET, chosen in the panel, and of the panel that shows it."""
    selector = widget.ui.resultSelector
    for index in range(selector.count):
        selector.currentIndex = index
        widget.results.show("pet", fit=True)
        tracer = widget.results.found.pet.GetAttribute("RelAPET.Tracer")
        labelled(slices(), selector.itemText(index)).save(out / f"pet_{tracer}.png", optimize=True)
        labelled(panel_pixels(widget), f"The panel, {tracer} shown").save(out / f"panel_{tracer}.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "Resources" / "pictures")
    parser.add_argument("--all-tracers", action="store_true", help="of one run for all tracers of the model")
    parser.add_argument("--desk", action="store_true", help="twelve pictures of panel and windows, light and dark")
    options = parser.parse_args()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    import slicer_harness as harness

    harness.boot()
    harness.watch_errors(True)
    widget = harness.load_module(str(ROOT / "RelAPET" / "RelAPET.py"))
    if options.all_tracers:
        widget.ui.tracerSelector.currentIndex = widget.ui.tracerSelector.count - 1
    if options.desk:
        harness.process_events(lambda: not widget.tasks.running, 300)
        desk(harness, widget, out)
    else:
        synthesize(harness, widget)
        resize(VIEWS, SIZE)
        (all_tracers if options.all_tracers else one_tracer)(widget, out)
    widget.stopAll()
    print("\n".join(str(path) for path in sorted(out.glob("*.png"))))


if __name__ == "__main__":
    main()
