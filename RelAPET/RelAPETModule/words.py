"""Text for the panel's rich-text labels and tool tips."""


def escaped(text):
    """Text of any origin as rich text that shows it as it is, line by line.

    For labels whose format is rich text: where Qt itself decides, ``A &amp; B`` without a tag is taken for plain text.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")


def toolTip(text):
    """A tool tip that shows text of any origin as it is; Qt takes a tool tip for rich text when it begins like one."""
    return f"<p>{escaped(text)}</p>"
