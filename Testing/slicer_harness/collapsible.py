"""Stand-in of ctkCollapsibleButton: a checkable button whose children hide when it is not checked."""

from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QAbstractButton, QSizePolicy, QWidget

from .stored import stored

HEADER_HEIGHT = 26
UNLIMITED = 16777215


class ctkCollapsibleButton(QAbstractButton):
    cpp_signals = ("contentsCollapsed(bool)",)
    contentsCollapsed = Signal(bool)
    collapsedHeight = stored(int, "collapsedHeight", 10)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)
    contentsFrameShadow = stored(int, "contentsFrameShadow", 0)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0)
    flat = stored(bool, "flat", False)

    def __init__(self, text="", parent=None):
        super().__init__(parent if isinstance(text, str) else text)
        self._hidden = []
        self._collapsed = False
        self.setText(text if isinstance(text, str) else "")
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Preferred, QSizePolicy.Preferred)
        self.setContentsMargins(0, HEADER_HEIGHT, 0, 0)
        self.toggled.connect(lambda on: self._collapse(not on))

    def _collapse(self, on):
        """Hides only children that were to be seen, and shows those again: what the module hid stays hidden."""
        if on == self._collapsed:
            return
        self._collapsed = on
        if on:
            children = self.findChildren(QWidget, options=Qt.FindDirectChildrenOnly)
            self._hidden = [child for child in children if not child.isHidden()]
        for child in self._hidden:
            child.setVisible(not on)
        self.setMaximumHeight(HEADER_HEIGHT if on else UNLIMITED)
        self.updateGeometry()
        self.contentsCollapsed.emit(on)

    def childEvent(self, event):
        super().childEvent(event)
        if self._collapsed and event.added() and event.child().isWidgetType():
            event.child().hide()
            self._hidden.append(event.child())

    def hitButton(self, position):
        return position.y() < HEADER_HEIGHT

    def paintEvent(self, event):
        painter = QPainter(self)
        painter.fillRect(0, 0, self.width, HEADER_HEIGHT - 2, self.palette.button())
        painter.drawText(8, HEADER_HEIGHT - 9, ("\u25b8 " if self._collapsed else "\u25be ") + self.text)
        painter.end()

    def sizeHint(self):
        hint = super().sizeHint()
        if self._collapsed or not self.layout():
            hint.setHeight(HEADER_HEIGHT)
            return hint
        return self.layout().sizeHint()

    collapsed = Property(bool, lambda self: self._collapsed, lambda self, on: self.setChecked(not on))
