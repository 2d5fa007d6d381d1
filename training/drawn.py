"""What the commands share that draw people for a bundle: whom a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from RelAPETLib.errors import InputError

from .data.cache import Cache
from .data.split import FILE, load_split

if TYPE_CHECKING:
    from RelAPETLib.models import Model


def trained_cases(model: Model, cache: Cache) -> list[str]:
    """One case of everybody that the model was trained on, in order of case, by the split beside the cache.

    Of a bundle that knows no split, and where none is there, everybody in the cache.

    Raises:
        InputError: not the split that the bundle knows, or none where it knows one.
    """
    path, known = cache.folder / FILE, model.metadata["training_data"].get("split_sha256")
    trained = set(cache.subjects)
    if path.exists():
        split = load_split(path, cache)
        if known not in (None, split.sha256):
            raise InputError(f"{path}: not the split that model {model.name} was trained with; put that one there")
        trained = set(split.train)
    elif known is not None:
        raise InputError(f"{path}: missing; put the split there that model {model.name} was trained with")
    found: dict[str, str] = {}
    for case, record in cache.cases.items():
        if record["subject"] in trained:
            found.setdefault(record["subject"], case)
    return list(found.values())
