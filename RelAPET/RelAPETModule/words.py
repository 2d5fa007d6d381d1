"""Text for the panel's rich-text labels."""


def escaped(text):
    """Text of any origin as rich text that shows it as it is, line by line."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>")
