"""Models as files: bundles, the catalogue, downloads, and the authors' published checkpoint."""

from .bundle import verify_bundle, write_bundle
from .catalogue import home, list_models, model_path, remove, show
from .download import fetch
from .importing import import_model
from .kept import KeptModels
from .model import Model, load_model, locate, verify
from .release import import_release_checkpoint

__all__ = [
    "KeptModels",
    "Model",
    "fetch",
    "home",
    "import_model",
    "import_release_checkpoint",
    "list_models",
    "load_model",
    "locate",
    "model_path",
    "remove",
    "show",
    "verify",
    "verify_bundle",
    "write_bundle",
]
