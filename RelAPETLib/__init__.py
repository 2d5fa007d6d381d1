"""RelAPET: synthetic PET from T1-weighted and T2-FLAIR MRI. Research software; what it makes is a model's guess.

Importing this package needs the standard library alone; names load when they are first used.
"""

__version__ = "0.1.0"

_LAZY = {
    "synthesize": "synthesis",
    "synthesize_many": "synthesis",
    "prepare_case": "synthesis",
    "load_case": "synthesis",
    "save_case": "synthesis",
    "load_model": "models",
    "import_release_checkpoint": "models",
    "read_volume": "volumes",
    "write_volume": "volumes",
    "preprocess": "preprocessing",
    "RelAPETError": "errors",
    "InputError": "errors",
    "DoubtfulInputError": "errors",
    "ModelError": "errors",
    "TRACERS": "tracers",
    "get_tracer": "tracers",
}
_SUBMODULES = {
    "comparison", "dicom_export", "diffusion", "errors", "grid", "models", "networks", "phantom", "preprocessing",
    "provenance", "regions", "registration", "report", "resources", "synthesis", "tracers", "volumes",
}  # fmt: skip

__all__ = ["__version__", *sorted(_LAZY), *sorted(_SUBMODULES)]


def __getattr__(name):
    import importlib

    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
