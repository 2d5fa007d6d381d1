"""A Qt property that only keeps its value."""

from PySide6.QtCore import Property


def stored(kind, name, default, changed=None):
    """Property ``name``; ``changed`` names the method that is called after it took another value."""
    key = "_stored_" + name

    def read(self):
        return self.__dict__.get(key, default)

    def write(self, value):
        before = read(self)
        self.__dict__[key] = value
        if changed and before != value:
            getattr(self, changed)()

    return Property(kind, read, write)
