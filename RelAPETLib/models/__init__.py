"""Models as files: bundles, the catalogue, downloads, and the authors' published checkpoint."""

from .bundle import verify_bundle, write_bundle
from .catalogue import list_models, model_path, remove, show
from .download import fetch
from .importing import import_model
from .kept import KeptModels
from .model import Model, load_model, locate, verify
from .places import home, models_folder, set_models_folder
from .release import import_release_checkpoint
from .survey import survey

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
    "models_folder",
    "remove",
    "set_models_folder",
    "show",
    "survey",
    "verify",
    "verify_bundle",
    "write_bundle",
]
