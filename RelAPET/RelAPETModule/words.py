"""Text for the panel's rich-text labels and tool tips, readable on a light panel and on a dark one."""

import qt

#: Colours of words by what they mean, on a light and on a dark panel; each has a contrast of 4.5 there (WCAG 2.1, AA).
ALARM = ("#b02010", "#ff9a8c")


def tone(widget, colors):
    """That of two colours which is for the panel as it is now, light or dark."""
    return colors[widget.palette.color(qt.QPalette.Window).lightness() < 128]


def textColor(widget):
    """Name of the colour of plain words, for links: that of Qt's links is dark blue on a dark panel too."""
    return widget.palette.color(qt.QPalette.Active, qt.QPalette.WindowText).name()  # also while it is disabled


def escaped(text):
    """Text of any origin as rich text that shows it as it is, line by line.

    The tag around it tells a label or tool tip that this is rich text: without any, it would show `&amp;` as it stands.
    """
    return "<span>" + text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>") + "</span>"
