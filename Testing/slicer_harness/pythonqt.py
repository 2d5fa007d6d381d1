"""``qt`` and ``ctk`` modules that behave as PythonQt's do inside Slicer, over PySide6.

What PythonQt does and PySide6 does not, given here:

- Qt properties are attributes: ``button.enabled = False``, ``spin.value``, ``timer.interval = 100``. So a getter that
  shares its property's name is no method any more: ``label.text``, never ``label.text()``.
- Everything that is not a Q_PROPERTY stays a method, in both: ``process.state()``, ``process.exitCode()``,
  ``process.readAllStandardOutput().data()``, ``combo.itemText(0)``, ``widget.layout()``, ``widget.parent()``.
- ``sender.connect("clicked(bool)", f)`` with a C++ signature; a signal that the class does not have raises ValueError,
  and a function that takes fewer arguments gets only those. ``sender.clicked.connect(f)`` works too.
- ``object.className()``, ``object.name``, ``object.delete()``, dynamic properties read as attributes.
- An attribute that the class does not have cannot be set: ``button.enabledd = True`` raises AttributeError there.

Not given: PythonQt's enums are ints (``qt.QProcess.NotRunning == 0``), PySide6's compare with enum members only.
"""

import contextlib
import ctypes
import re
import sys
import types
from pathlib import Path

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import QMetaObject, QObject, Signal

# Virtual functions that Qt itself calls on Python subclasses: as properties they would break the layouts.
KEEP_METHODS = {"sizeHint", "minimumSizeHint"}

_PACKAGE = __name__.rpartition(".")[0]
_originals = {}  # class -> its __getattribute__ before ours
_loading = []


class _QtProperty:
    """A Q_PROPERTY as an attribute of instances; on the class itself what was there stays (``QTimer.singleShot``)."""

    def __init__(self, name, on_class=None):
        self.name, self.on_class = name, on_class

    def __get__(self, instance, owner=None):
        if instance is None:
            return self if self.on_class is None else self.on_class
        return QObject.property(instance, self.name)

    def __set__(self, instance, value):
        _set_property(instance, self.name, value)


def _set_property(instance, name, value):
    if isinstance(value, Path):
        raise ValueError(f"{_class_name(instance)}.{name} needs a str: PythonQt converts no pathlib.Path")
    if isinstance(value, tuple):  # PythonQt takes any sequence for a QStringList
        value = list(value)
    if not QObject.setProperty(instance, name, value):
        raise ValueError(f"cannot set {_class_name(instance)}.{name} to {value!r}")


def _class_name(instance):
    return instance.metaObject().className()


def _arity(function):
    """How many arguments PythonQt would pass: all to ``*args``, otherwise as many as the function has names for."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None or code.co_flags & 0x04:
        return 99
    return code.co_argcount - (1 if hasattr(function, "__self__") else 0)


def signal_of(sender, signature):
    """The bound signal of a C++ signature such as ``finished(int,QProcess::ExitStatus)``, and its number of arguments.

    Stand-ins list the signatures of the C++ class in ``cpp_signals``, since Python signals carry ``object`` only.
    """
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", signature)
    if not match:
        raise ValueError(f"{signature!r} is no signal's signature: write it like clicked(bool)")
    name, arguments = match.group(1), [part for part in match.group(2).split(",") if part.strip()]
    normalized = QMetaObject.normalizedSignature(signature).data().decode()
    declared = getattr(type(sender), "cpp_signals", ())
    known = normalized in declared or sender.metaObject().indexOfSignal(normalized) >= 0
    if not known or not hasattr(sender, name):
        raise ValueError(f"{_class_name(sender)} has no signal {signature}")
    return getattr(sender, name), name, len(arguments)


# What PythonQt keeps of the connections, by the address of the sender's C++ object: [(signature, callable, call), ...].
# As there, callables are held strongly where Python's garbage collector does not look, until they are disconnected or
# the sender is deleted; so a sender that is reached from its own slot is never freed.
_receivers = {}


def _connect(self, signature, receiver=None, slot=None, *more):
    if not isinstance(signature, str) or signature[:1] == "2":  # PySide6 itself calls; QTimer.singleShot does
        rest = [] if slot is None else [slot]
        return _qt_lookup(self, "connect")(signature, receiver, *rest, *more)
    signal, name, count = signal_of(self, signature)
    function = receiver if slot is None else getattr(receiver, slot.split("(")[0])
    if not callable(function):
        raise ValueError(f"cannot connect {signature} of {_class_name(self)} to {function!r}: it cannot be called")
    limit = min(count, _arity(function))
    convert = getattr(type(self), "cpp_conversions", {}).get(signature)  # of an overload that Python's signal lacks

    def call(*arguments):
        return function(*(convert(argument) if convert else argument for argument in arguments[:limit]))

    address = _address(self)
    if address not in _receivers:
        _receivers[address] = []
        self.destroyed.connect(lambda *_, address=address: _receivers.pop(address, None))
    _receivers[address].append((name, receiver, call))
    return bool(signal.connect(call))


def _disconnect(self, signature=None, receiver=None, *more):
    """Without a callable all of the signal's; otherwise the first that is equal to it, as PythonQt compares."""
    if not isinstance(signature, str) or signature[:1] == "2":
        given = [argument for argument in (signature, receiver, *more) if argument is not None]
        return _qt_lookup(self, "disconnect")(*given)
    signal, name, _count = signal_of(self, signature)
    connections = _receivers.get(_address(self), [])
    found = [entry for entry in connections if entry[0] == name and (receiver is None or entry[1] == receiver)]
    for entry in found if receiver is None else found[:1]:
        connections.remove(entry)
        signal.disconnect(entry[2])
    return bool(found)


def _address(instance):
    return shiboken6.getCppPointer(instance)[0]


def connections():
    """How many callables the living senders hold."""
    return sum(map(len, _receivers.values()))


def _lookup(self, name):
    """Shiboken resolves ``connect`` on instances before the type's dictionary, so ours is looked up before that."""
    if name == "connect":
        return types.MethodType(_connect, self)
    if name == "disconnect":
        return types.MethodType(_disconnect, self)
    return _qt_lookup(self, name)


def _qt_lookup(self, name):
    """As PySide6 looks up, which differs between classes: some have functions that are both static and not."""
    kind = type(self)
    if kind not in _originals:
        _originals[kind] = next(_originals[base] for base in kind.__mro__ if base in _originals)
    return _originals[kind](self, name)


def _lookup_dynamic(self, name):
    if not name.startswith("_") and name in _dynamic_properties(self):
        return QObject.property(self, name)
    raise AttributeError(f"{_class_name(self)} has no attribute {name!r}")


def _dynamic_properties(self):
    return [bytes(key).decode() for key in QObject.dynamicPropertyNames(self)]


def _assign(self, name, value):
    """PythonQt refuses attributes that a C++ class does not have; subclasses written in Python may have their own."""
    kind = type(self)
    # By hand, since neither PySide6's nor object's own __setattr__ accepts a subclass of a patched class.
    present = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
    if isinstance(present, QtCore.Property):  # no data descriptor that Python would call
        _set_property(self, name, value)
    elif hasattr(type(present), "__set__"):
        type(present).__set__(present, self, value)
    elif present is None and name in _dynamic_properties(self):
        QObject.setProperty(self, name, value)
    elif _may_have_own(kind, name, present):
        self.__dict__[name] = value
    elif _loading:
        pass  # PySide6's loader makes attributes of a panel's children; PythonQt's does not
    else:
        raise AttributeError(f"{_class_name(self)} has no attribute {name!r} to set")


@contextlib.contextmanager
def while_loading():
    """During it PySide6 may set attributes on widgets, which are dropped."""
    _loading.append(True)
    try:
        yield
    finally:
        _loading.pop()


def _may_have_own(kind, name, present):
    """Stand-ins may have private attributes and change their constants, Qt's classes neither, a module's own all."""
    if kind.__module__.startswith("PySide6"):
        return False
    if kind.__module__.startswith(_PACKAGE):
        return name.startswith("_") or (present is not None and not callable(present))
    return True


def stray_attributes(root):
    """Attributes that PythonQt would refuse, by widget name: a second net, below the check at assignment."""
    found = {}
    for item in [root, *root.findChildren(QObject)]:
        stray = sorted(key for key in item.__dict__ if not key.startswith("_") and not hasattr(type(item), key))
        if stray and type(item).__module__.startswith("PySide6"):
            found[item.objectName or type(item).__name__] = stray
    return found


def _patch_classes():
    # dir(), since PySide6 makes its types lazily and vars() misses them
    members = [getattr(module, name) for module in (QtCore, QtGui, QtWidgets) for name in dir(module)]
    classes = [member for member in members if isinstance(member, type) and issubclass(member, QObject)]
    _originals.update({cls: cls.__getattribute__ for cls in classes})
    for cls in classes:
        meta = cls.staticMetaObject
        for index in range(meta.propertyOffset(), meta.propertyCount()):
            name = meta.property(index).name()
            if name not in KEEP_METHODS and not isinstance(vars(cls).get(name), Signal):
                static = cls.singleShot if (cls, name) == (QtCore.QTimer, "singleShot") else None
                setattr(cls, name, _QtProperty(name, static))
        cls.__getattribute__, cls.__getattr__, cls.__setattr__ = _lookup, _lookup_dynamic, _assign


def _keep_singletons():
    """PySide6 6.12's ``emit()`` returns a True that is not its own; before Python 3.12 many emits free True."""
    if sys.version_info < (3, 12):
        for singleton in (True, False, None):
            ctypes.c_ssize_t.from_address(id(singleton)).value += 1 << 40


def install():
    """Make ``import qt`` and ``import ctk`` work in this process; returns the two modules."""
    _keep_singletons()
    _patch_classes()
    QObject.name = QObject.objectName
    QObject.className = _class_name
    QObject.delete = lambda self: self.deleteLater()

    from . import standins, uiloader

    qt = types.ModuleType("qt", "PySide6 with PythonQt's conventions (Testing/slicer_harness)")
    for module in (QtCore, QtGui, QtWidgets):
        vars(qt).update({name: getattr(module, name) for name in dir(module) if name.startswith("Q")})
    qt.QUiLoader, qt.Signal, qt.Slot = uiloader.UiLoader, QtCore.Signal, QtCore.Slot
    ctk = types.ModuleType("ctk", "stand-ins of CTK's widgets (Testing/slicer_harness)")
    vars(ctk).update({name: cls for name, cls in standins.WIDGETS.items() if name.startswith("ctk")})
    ctk.__getattr__ = standins.missing
    sys.modules.update(qt=qt, ctk=ctk)
    return qt, ctk
