"""Stand-in of ``slicer.parameterNodeWrapper``: typed attributes over a real vtkMRMLScriptedModuleNode.

Types: str, int, float, bool, pathlib.Path, Enum (kept by name), classes of MRML nodes (or None), and Optional of
these; ``Annotated`` with the validators below, Default, Decimals, SingleStep. Stricter than Slicer's in one thing:
setting an attribute that is no parameter raises, where Slicer's wrapper keeps it, outside the scene.
Not here: lists, tuples, dicts, parameter packs, QColor.
"""

import dataclasses
import enum
import itertools
import pathlib
import types
import typing
import weakref
from typing import Any

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = "SlicerParameterName"

# Wrappers that observe their node, by node and observer: were one collected as garbage while VTK can still call it, VTK
# would crash, as it does in Slicer.
_connected = {}
_tags = itertools.count()


class Validator:
    def validate(self, value):
        raise NotImplementedError


@dataclasses.dataclass
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclasses.dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclasses.dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


@dataclasses.dataclass
class Choice(Validator):
    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


@dataclasses.dataclass
class Exclude(Validator):
    excludedValues: list

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, which is excluded")


class NotNone(Validator):
    def validate(self, value):
        if value is None:
            raise ValueError("Value must not be None")


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


class Default:
    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


@dataclasses.dataclass
class Parameter:
    """One typed attribute: how it is checked, and how the node's strings and references keep it."""

    name: str
    kind: Any
    optional: bool
    annotations: list
    hint: Any
    default: Default = None

    @property
    def is_node(self):
        import slicer

        return all(isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode) for kind in self.kinds)

    @property
    def kinds(self):
        return self.kind if isinstance(self.kind, tuple) else (self.kind,)

    def first_value(self):
        """The value of a parameter that states none, by its type."""
        if self.optional or self.is_node:
            return None
        if issubclass(self.kind, enum.Enum):
            return next(iter(self.kind))
        return self.kind()

    def validate(self, value):
        if value is None and (self.optional or self.is_node):
            allowed = True
        elif value is None:
            raise ValueError(f"{self.name} must not be None")
        elif self.kind is float:
            allowed = isinstance(value, (int, float))
        else:
            allowed = isinstance(value, self.kinds)
        if not allowed:
            raise TypeError(f"{self.name} must be {self.hint}, is {type(value).__name__} {value!r}")
        for annotation in self.annotations:
            if isinstance(annotation, Validator) and (value is not None or isinstance(annotation, NotNone)):
                annotation.validate(value)

    def write(self, node, value):
        import slicer

        self.validate(value)
        with slicer.util.NodeModify(node):
            if self.is_node:
                node.SetParameter(self.name, "")
                node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
                return
            if self.optional:
                node.SetParameter(self.name + ".none", "True" if value is None else "False")
            if value is None:
                text = ""
            elif isinstance(value, enum.Enum):
                text = value.name
            else:
                text = str(value)
            node.SetParameter(self.name, text)

    def read(self, node):
        if not node.HasParameter(self.name):  # a scene that was closed or loaded: back to the default
            self.write(node, self.default.value)
        if self.is_node:
            return node.GetNodeReference(self.name)
        if self.optional and node.GetParameter(self.name + ".none") == "True":
            return None
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        if issubclass(self.kind, enum.Enum):
            if text not in self.kind.__members__:
                raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
            return self.kind[text]
        return self.kind(text)


def split_hint(hint):
    """``Annotated[T, ...]`` to T and its annotations."""
    if typing.get_origin(hint) is typing.Annotated:
        return typing.get_args(hint)[0], list(hint.__metadata__)
    return hint, []


def _parameter(cls, name, hint):
    kind, annotations = split_hint(hint)
    optional = False
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = typing.get_args(kind)
        optional = type(None) in members
        kinds = tuple(member for member in members if member is not type(None))
        kind = kinds[0] if len(kinds) == 1 else kinds
    parameter = Parameter(name, kind, optional, annotations, hint)
    simple = (str, int, float, bool, pathlib.Path)
    if not parameter.is_node and kind not in simple and not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        raise TypeError(f"the harness's parameterNodeWrapper knows no {hint} ({cls.__name__}.{name})")
    defaults = [annotation for annotation in annotations if isinstance(annotation, Default)]
    if hasattr(cls, name):
        parameter.default = Default(getattr(cls, name))
    else:
        parameter.default = defaults[0] if defaults else Default(parameter.first_value())
    return parameter


def _property(parameter):
    return property(
        lambda self: self.getValue(parameter.name),
        lambda self, value: self.setValue(parameter.name, value),
    )


class _Wrapper:
    """What the decorator adds to a class."""

    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode, prefix=None):
        if parameterNode is None:
            raise AssertionError("a parameter node wrapper needs a node")
        put = object.__setattr__
        put(self, "parameterNode", parameterNode)
        put(self, "_guis", {})
        put(self, "_updating", False)
        put(self, "_values", {})
        self._read_all()
        self._follow_node()

    def _follow_node(self):
        """Values are read when the node says that it changed, and kept until then, as Slicer does.

        So a reference that a loaded scene resolves after the node's last event reads as None: a module has to make its
        wrapper again after an import, here and in Slicer.
        """
        import vtk

        me = weakref.ref(self)
        tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: me() and me()._read_all())
        weakref.finalize(self, self.parameterNode.RemoveObserver, tag).atexit = False

    def _read_all(self):
        for name, parameter in self.allParameters.items():
            self._values[name] = parameter.read(self.parameterNode)

    def __setattr__(self, name, value):
        if name not in self.allParameters and name not in ("_updating",):
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}")
        object.__setattr__(self, name, value)

    @classmethod
    def _known(cls, name):
        if name not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}, of {sorted(cls.allParameters)}")
        return cls.allParameters[name]

    def default(self, paramName):
        return self._known(paramName).default

    def isCached(self, paramName):
        self._known(paramName)
        return True

    @classmethod
    def dataType(cls, paramName):
        return cls._known(paramName).hint

    def getValue(self, paramName):
        self._known(paramName)
        return self._values[paramName]

    def setValue(self, paramName, value):
        import slicer

        parameter = self._known(paramName)
        with slicer.util.NodeModify(self.parameterNode):  # whoever is told of the change reads the new value
            parameter.write(self.parameterNode, value)
            self._values[paramName] = parameter.read(self.parameterNode)

    def connectGui(self, gui):
        import qt

        widgets = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else list(vars(gui).values())
        named = {}
        for widget in widgets:
            name = widget.property(SlicerParameterNamePropertyName) if isinstance(widget, qt.QObject) else None
            if name:
                named[name] = widget
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping):
        """Every parameter named must exist; the widgets then show the node's values, and change them."""
        import vtk

        from .gui_binding import Binding

        parameters = {name: self._known(name) for name in mapping}
        bindings = {name: Binding(widget, parameters[name]) for name, widget in mapping.items()}
        for name, binding in bindings.items():
            binding.write(self.getValue(name))
            binding.connect(lambda name=name, binding=binding: self._from_gui(name, binding))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._to_gui())
        _connected[self.parameterNode, observer] = self
        tag = next(_tags)
        self._guis[tag] = bindings
        return tag

    def disconnectGui(self, guiTag):
        """The observer of the node stays, as in Slicer 5.10; 5.12 takes it away."""
        for binding in self._guis.pop(guiTag, {}).values():
            binding.disconnect()

    def _from_gui(self, name, binding):
        if not self._updating:
            self.setValue(name, binding.read())

    def _to_gui(self):
        import slicer

        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for bindings in list(self._guis.values()):
                    for name, binding in bindings.items():
                        binding.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)
        _connected.pop((self.parameterNode, tag), None)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype=None):
    """Class decorator, with or without parentheses."""
    if classtype is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(classtype, include_extras=True)
    reserved = {name for name in vars(_Wrapper) if not name.startswith("__")} | {"allParameters", "parameterNode"}
    for name in {*hints, *vars(classtype)} & reserved:
        raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    parameters = {name: _parameter(classtype, name, hint) for name, hint in hints.items()}
    body = {name: value for name, value in vars(_Wrapper).items() if name not in ("__dict__", "__weakref__", "__doc__")}
    for name, value in {**body, "allParameters": parameters}.items():
        if name not in ("__module__", "__qualname__"):
            setattr(classtype, name, value)
    for name, parameter in parameters.items():
        setattr(classtype, name, _property(parameter))
    return classtype


def isParameterNodeWrapper(classOrObj):
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    import qt

    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    return None
