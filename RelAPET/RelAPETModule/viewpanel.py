"""How the shown result looks: side by side or not, PET or MRI at a key, colours and their window."""

import qt
import slicer
from slicer.i18n import tr as _

from . import colours, display, layouts, people
from .attributes import SPACE, TRACER
from .parameters import Background


class ViewPanel:
    """Buttons of the display section that change how a result is seen, and not which one is chosen."""

    def __init__(self, panel):
        self._panel, self._filling, self._offered = panel, False, None
        self._layouts, self._laid = layouts.SideBySide(), None
        self._followed, self._due = [], False  # volumes whose display is heard of and tags; whether it has changed
        ui = panel.ui
        for button, slot in (
            (ui.compareButton, lambda checked=False: self.onLay("comparison")),
            (ui.tracersButton, lambda checked=False: self.onLay("tracers")),
            (ui.flipButton, self.onFlip),
        ):
            button.connect("clicked(bool)", slot)
        ui.colorSelector.connect("currentIndexChanged(int)", self.onLook)
        ui.windowWidget.connect("valuesChanged(double,double)", self.onWindow)
        ui.opacitySlider.connect("valueChanged(double)", self.onOpacity)
        self._manager = slicer.app.layoutManager()
        layouts.register()
        if self._manager is not None:
            self._manager.connect("layoutChanged(int)", self.onLayoutChanged)

    def cleanUp(self):
        """The module goes: nothing of it may be called any more, and none of its views stays."""
        self._layouts.leave()
        self._follow([])
        if self._manager is not None:
            self._manager.disconnect("layoutChanged(int)", self.onLayoutChanged)
            self._manager = None

    @property
    def _found(self):
        return self._panel.results.found

    # Side by side

    def onLay(self, kind):
        """Lay maps side by side, or go back to the former layout when these are what is shown."""
        if self._found is None or (self._layouts.shown and self._laid == kind):
            self.leave()
        else:
            self._laid = kind
            self.lay()
        self.update()

    def lay(self):
        """What is side by side, anew, e.g. for another result or background."""
        node, found = self._panel.parameters, self._found
        mri = self._background(found)
        pets = people.petsLike(found.pet)
        same = [pet for pet in pets if pet.GetAttribute(SPACE) == found.pet.GetAttribute(SPACE)]
        columns = layouts.tracers(same, mri) if self._laid == "tracers" else layouts.comparison(found, mri)
        self._panel.ui.flipButton.checked = False
        self._layouts.show(columns, node.opacity, node.plane.value)

    def _background(self, found):
        wanted = self._panel.parameters.background == Background.T2F
        return self._t2f(found) or found.mri if wanted else found.mri

    @staticmethod
    def _t2f(found):
        """The FLAIR that a result can lie over; none in MNI space, where the FLAIR is not."""
        return found.pet.GetNodeReference(people.T2F_ROLE) if found.pet.GetAttribute(SPACE) != "MNI" else None

    def leave(self):
        """The layout that was there before the views side by side."""
        self._layouts.leave()
        if self._found is not None:
            display.showLegends({self._found.volumes.get(self._panel.parameters.shown.value)})

    def forget(self):
        """The scene is closed: its result is neither shown nor held any more."""
        self.leave()
        self._follow([])
        self._seen = None

    def onLayoutChanged(self, layout):
        self.update()

    def onChanged(self):
        """Another result, background or plane was chosen."""
        node = self._panel.parameters
        what = (node.output, node.background, node.plane) if node is not None else None
        if self._layouts.shown and self._found is not None and what != self._seen:
            self._seen = what
            self.lay()
        self._seen = what

    _seen = None

    # PET and MRI

    def onFlip(self, checked=False):
        """The MRI alone while the button is down, in every view with one of our maps."""
        opacity = self._panel.parameters.opacity
        display.setOpacity(0.0 if self._panel.ui.flipButton.checked else opacity)

    def onOpacity(self, value):
        if self._found is not None:
            self._panel.ui.flipButton.checked = False
            display.setOpacity(value)

    # Colours

    def onLook(self, index):
        if not self._filling and index >= 0 and self._found is not None:
            display.setLook(self._found, index)
            self.update()

    def onWindow(self, low, high):
        if not self._filling and self._found is not None and high > low:
            display.setWindow(self._found, low, high)
            self._panel.results.updateWords()

    def _follow(self, volumes):
        """Hear of it when a map's colours are changed elsewhere, e.g. its window with the mouse in a view."""
        event = slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent
        for volume, tag in self._followed:
            if volume not in volumes:
                volume.RemoveObserver(tag)
        kept = [(volume, tag) for volume, tag in self._followed if volume in volumes]
        known = [volume for volume, _tag in kept]
        new = [(volume, volume.AddObserver(event, self._onDisplay)) for volume in volumes if volume not in known]
        self._followed = kept + new

    def _onDisplay(self, caller=None, event=None):
        if not self._due:
            self._due = True
            qt.QTimer.singleShot(0, self._showDisplay)

    def _showDisplay(self):
        self._due = False
        if self._followed and self._found is not None:
            self.update()
            self._panel.results.updateWords()

    def update(self):
        """Buttons and colours as the shown result has them."""
        node, found, ui = self._panel.parameters, self._found, self._panel.ui
        if node is None:
            return
        self._follow(list(found.volumes.values()) if found is not None else [])
        there = found is not None and self._manager is not None
        ui.compareButton.enabled = there
        ui.tracersButton.enabled = there and len({p.GetAttribute(TRACER) for p in people.petsLike(found.pet)}) > 1
        ui.compareButton.checked = self._layouts.shown and self._laid == "comparison"
        ui.tracersButton.checked = self._layouts.shown and self._laid == "tracers"
        ui.flipButton.enabled = there and found.mri is not None
        ui.backgroundSelector.enabled = there and self._t2f(found) is not None
        ui.planeSelector.enabled = there
        for widget in (ui.colorSelector, ui.windowWidget):
            widget.enabled = found is not None
        if found is not None and display.isColoured(found.pet):
            self._showColours(found)

    def _showColours(self, found):
        ui, looks = self._panel.ui, colours.looks(found.pet)
        self._filling = True
        if looks != self._offered:
            self._offered = looks
            ui.colorSelector.clear()
            for name, (low, high) in looks:
                ui.colorSelector.addItem(
                    _("{colours}, {low:g} to {high:g}").format(colours=colours.title(name), low=low, high=high)
                )
        number = display.look(found)
        ui.colorSelector.currentIndex = -1 if number is None else number
        low, high = display.shownWindow(found.pet)
        ui.windowWidget.minimum = 0.0
        ui.windowWidget.maximum = max(high, *(window[1] for _name, window in looks))
        ui.windowWidget.setValues(low, high)
        self._filling = False
