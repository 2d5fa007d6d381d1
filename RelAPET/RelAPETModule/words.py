"""Text for the panel's rich-text labels and tool tips."""


def escaped(text):
    """Text of any origin as rich text that shows it as it is, line by line.

    The tag around it tells a label or tool tip that this is rich text: without any, it would show `&amp;` as it stands.
    """
    return "<span>" + text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>") + "</span>"
