"""Parts of JSON Schemas from which methods build the schema of their settings."""

from __future__ import annotations

from typing import Any

from ..diffusion.names import SAMPLERS, SCHEDULES

Schema = dict[str, Any]


def closed(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """An object with exactly these properties, those of `optional` perhaps not there."""
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        "properties": properties,
    }


def sampler(names: tuple[str, ...] = SAMPLERS) -> Schema:
    """How a model on a Gaussian noise schedule draws: one of these samplers."""
    return closed(
        {
            "name": {"enum": list(names)},
            "steps": {"type": "integer", "minimum": 1},
            "samples": SAMPLES,
            "clip": {"oneOf": [{"type": "null"}, INTERVAL]},
        }
    )


#: Samples that a synthesis draws.
SAMPLES: Schema = {"type": "integer", "minimum": 1, "maximum": 64}
#: Settings of a method that has none.
NOTHING: Schema = closed({})
INTERVAL: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
SHAPE: Schema = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1, "maximum": 1024},
    "minItems": 3,
    "maxItems": 3,
}
SCHEDULE: Schema = closed(
    {
        "kind": {"enum": list(SCHEDULES)},
        "beta_start": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "beta_end": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "num_timesteps": {"type": "integer", "minimum": 1, "maximum": 100000},
        "zero_terminal_snr": {"type": "boolean"},
    },
    optional=("zero_terminal_snr",),
)
_NAME = "^[a-z][a-z0-9_]*$"


def arguments(depth: int = 4) -> Schema:
    """Keyword arguments of a network: numbers, short plain words, lists of them, and objects of the same."""
    plain: list[Schema] = [
        {"type": ["number", "boolean", "null"]},
        {"type": "string", "pattern": "^[a-z0-9_-]{1,40}$"},
        {"type": "array", "maxItems": 64, "items": {"type": ["number", "boolean", "string"]}},
    ]
    inner = [*plain, arguments(depth - 1)] if depth else plain
    return {
        "type": "object",
        "propertyNames": {"pattern": _NAME},
        # Each block takes time even where it takes no memory, and each level doubles what volumes are padded to.
        "properties": {
            "num_res_blocks": {"type": "integer", "minimum": 1, "maximum": 32},
            "latent_layers": {"type": "integer", "minimum": 0, "maximum": 32},
            "token_halvings": {"type": "integer", "minimum": 0, "maximum": 4},
            "channels": {"type": "array", "minItems": 1, "maxItems": 8, "items": {"type": "integer", "minimum": 1}},
        },
        "additionalProperties": {"anyOf": inner},
    }
