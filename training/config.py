"""The configuration of a training run: typed Hydra groups, checked once, one line for what is wrong.

``method=`` chooses the method and with it the configuration: a subclass of `TrainConfig` in the method's folder, with
groups and choices of its own. Every key of a group can be overridden by itself, for instance
``preset=release preset.adversarial_weight=0.1``. An unknown key is an error. `training.groups` has the groups that
every method has, `training.keys` what their keys do and which values they take.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any, ClassVar, get_type_hints

from RelAPETLib.homes import given_path

from .errors import ConfigError
from .groups import Data, Hardware, Method, Network, Preset, Run, flatten
from .keys import REPLACED, RULES, Key, Rules
from .words_of_config import as_place

__all__ = [
    "About",
    "Data",
    "Hardware",
    "Key",
    "Method",
    "Network",
    "Preset",
    "Rules",
    "Run",
    "TrainConfig",
    "check",
    "chosen",
    "composed",
    "differences",
    "flatten",
    "layout",
    "load_config",
    "method_class",
    "nested",
    "replaced",
    "typed",
]

#: Keys that no method does without, in the order of the command's usage; an unset variable of a shell gives nothing.
GIVEN = ("data.cache", "out")
#: Hydra's own groups that a run has no use for; to read them takes a fifth of a configuration's time.
_UNUSED = {f"override hydra/{name}": None for name in ("hydra_logging", "job_logging", "help", "hydra_help", "output")}


@dataclass(frozen=True)
class About:
    """What ``python -m training methods`` says of a choice of ``method=``.

    Attributes:
        paper: what it is, and who described it.
        calls: network calls of a sample with the default preset, and the range that a synthesis can ask for.
        licence: of the authors' own code; none of it is used here.
        needs: what it is given.
    """

    paper: str
    calls: str
    licence: str
    needs: str


@dataclass
class TrainConfig:
    """Everything a run is made of. A method subclasses it.

    Class attributes:
        groups: by group, its choices by name, the default one first.
        rules: what each key does and which values it takes; a method adds its own keys:
            ``rules = TrainConfig.rules | Rules({"preset.strength": Key("strength of the penalty", least=0)})``.
        follows: groups whose choice, where nobody names one, is that of another group (``{"network": "preset"}``).
        renamed: keys of earlier versions, and what they are called now.
        about: by choice of ``method=``, what the list of methods says of it.
    """

    groups: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    rules: ClassVar[Rules] = RULES
    follows: ClassVar[Mapping[str, str]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}
    about: ClassVar[Mapping[str, About]] = {}

    method: Method = field(default_factory=Method)
    preset: Preset = field(default_factory=Preset)
    network: Network = field(default_factory=Network)
    data: Data = field(default_factory=Data)
    hardware: Hardware = field(default_factory=Hardware)
    run: Run = field(default_factory=Run)
    out: str = "???"
    seed: int = 0

    def settle(self) -> None:
        """Put values in the place of those that follow from others (``auto``); the method's own, before `check`."""

    def check(self) -> None:
        """Raise `ConfigError` for a combination without sense; the method's own."""

    def size_problems(self) -> list[str]:
        """Everything that keeps the method's networks from being built, a line each, each naming its key."""
        return []

    def check_ranks(self, ranks: int) -> None:
        """Raise `ConfigError` for a layout over `ranks` that the method cannot do, beyond `layout`."""


def load_config(overrides: Sequence[str]) -> TrainConfig:
    """The configuration, of the method's class, that Hydra overrides (``preset=paper``, ``run.steps=9``) make, checked.

    Raises:
        ConfigError: as `composed`; a value out of range, a combination without sense.
    """
    config = composed(overrides)
    check(config)
    return config


def composed(overrides: Sequence[str]) -> TrainConfig:
    """The configuration that overrides make, not checked yet.

    Raises:
        ConfigError: an unknown key or choice, a value of a wrong type, a key that must be given and is not.
        InputError: a place in the home folder of a user who is not known.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for word in overrides:
        if word.startswith(("+", "~")):
            raise ConfigError(f"{word}: keys can be changed, not added or taken away")
    kind = method_class(overrides)
    for word in overrides:
        key = word.partition("=")[0]
        if key in kind.renamed:
            raise ConfigError(f"{word}: this key is called {kind.renamed[key]} now")
        if key in REPLACED:
            new, values = REPLACED[key]
            said = ", ".join(f"{str(old).lower()} is {new}={value}" for old, value in values.items())
            raise ConfigError(f"{word}: {new} has taken this key's place; {said}")
    _check_words(overrides, kind)
    overrides = [_quoted(word, kind) for word in overrides]
    store = ConfigStore.instance()
    defaults = ["_self_", *({group: choice} for group, choice in (_usual(overrides, kind) | _UNUSED).items())]
    root = OmegaConf.structured(kind)
    store.store(name="train", node=OmegaConf.merge({"defaults": defaults}, root))
    for group, choices in kind.groups.items():
        store.repo.pop(group, None)  # choices of a method loaded before
        for name, node in choices.items():
            store.store(group=group, name=name, node=node)
    try:
        # Not `initialize`, which looks through the source of the whole stack for who calls it.
        with initialize_config_module("training", version_base=None):
            merged = OmegaConf.merge(root, compose("train", overrides=list(overrides)))
        empty = {key for key in GIVEN if OmegaConf.select(merged, key) == ""}
        _check_given(OmegaConf.missing_keys(merged) | empty, kind)
        config = OmegaConf.to_object(merged)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    except (ValueError, TypeError, RecursionError) as error:  # what Hydra's parser lets through
        raise ConfigError(f"the overrides cannot be read: {_one_line(error)}") from error
    _at_home(config)
    config.settle()
    return config


def _check_given(missing: Collection[str], kind: type[TrainConfig]) -> None:
    """Raise `ConfigError` for the keys that must be given and are not, all of them."""
    needed = [*(key for key in GIVEN if key in missing), *sorted(set(missing) - set(GIVEN))]
    if needed:
        said = (f"{key}= must be given: the {kind.rules[key].what.partition(';')[0]}" for key in needed)
        raise ConfigError("; ".join(said))


def _quoted(word: str, kind: type[TrainConfig]) -> str:
    """The word, in Hydra's grammar where its key is a place."""
    key, equals, value = word.partition("=")
    return f"{key}={as_place(value)}" if equals and key in kind.rules and kind.rules[key].place else word


def _at_home(config: TrainConfig) -> None:
    """Expand a leading ``~`` in the keys that are places. Raises `InputError` for a user who is not known."""
    for key, value in flatten(config).items():
        if key in config.rules and config.rules[key].place:
            group, _, name = key.rpartition(".")
            setattr(getattr(config, group) if group else config, name, given_path(value))


def method_class(overrides: Sequence[str]) -> type[TrainConfig]:
    """The configuration of the method that the overrides name. Raises `ConfigError` where there is none."""
    from .methods import DEFAULT, config_class

    names = [word.partition("=")[2].strip(" '\"") for word in overrides if word.startswith("method=")]
    return config_class(names[-1] if names else DEFAULT)


def chosen(overrides: Sequence[str]) -> TrainConfig:
    """The defaults under the choices of groups (``preset=paper``) among overrides; other words are passed over.

    Raises:
        ConfigError: a choice that does not exist.
    """
    kind = method_class(overrides)
    named = _named(overrides, kind)
    _check_words([f"{group}={choice}" for group, choice in named.items()], kind)
    picked = _usual(overrides, kind) | named
    try:
        return kind(**{group: kind.groups[group][choice] for group, choice in picked.items()})
    except KeyError as error:
        raise ConfigError(f"{error.args[0]}: no choice of {', '.join(kind.groups)}") from error


def _named(overrides: Sequence[str], kind: type[TrainConfig]) -> dict[str, str]:
    """Choices of groups among overrides, by group."""
    words = [word.partition("=") for word in overrides]
    return {group: choice.strip(" '\"") for group, _, choice in words if group in kind.groups}


def _usual(overrides: Sequence[str], kind: type[TrainConfig]) -> dict[str, str]:
    """The choice of every group that counts where none is named: the first, or that of the group that it follows."""
    usual, named = {group: next(iter(choices)) for group, choices in kind.groups.items()}, _named(overrides, kind)
    for group, leader in kind.follows.items():
        choice = named.get(leader, usual[leader])
        if choice in kind.groups[group]:
            usual[group] = choice
    return usual


def typed(config: Mapping[str, Any]) -> TrainConfig:
    """A configuration as a checkpoint has it, flat or nested, as an instance of its method's subclass; not checked.

    Raises:
        ConfigError: no method that is known.
        TypeError, KeyError: keys that the method does not have.
    """
    from .methods import config_class

    content = nested(config)
    kind = config_class(content["method"]["name"])
    content = nested(upgraded(flatten(content), kind))
    types = get_type_hints(kind)
    return kind(**{
        name: types[name](**value) if is_dataclass(types[name]) else value for name, value in content.items()
    })  # fmt: skip


def upgraded(config: Mapping[str, Any], kind: type[TrainConfig]) -> dict[str, Any]:
    """A flat configuration of an earlier version with today's keys.

    Renamed keys are moved; new ones get their field's default, which is what was done before there was a choice.
    """
    flat = replaced(config)
    for old, new in kind.renamed.items():
        if old in flat:
            flat[new] = flat.pop(old)
    return flatten(kind()) | flat


def replaced(config: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration in which the keys of `REPLACED` have become those that took their place."""
    flat = {key: value for key, value in config.items() if key not in REPLACED}
    for old, (new, values) in REPLACED.items():
        if config.get(old):
            flat[new] = values[config[old]]
    return flat


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with ``a.b`` keys taken apart; one that is nested already is returned as it is."""
    result: dict = {}
    for key, value in config.items():
        group, _, rest = key.partition(".")
        if rest:
            result.setdefault(group, {})[rest] = value
        else:
            result[key] = value
    return result


#: Lines of Hydra that lead nowhere; keys cannot be appended here.
_NOISE = ("full_key", "object_type", "reference_type", "To append to your config")


def _one_line(error: Exception) -> str:
    """What Hydra says, with the reason it keeps in the cause, on one line."""
    lines = [*str(error).splitlines(), *str(error.__cause__ or "").splitlines()]
    useful = [line.strip() for line in lines if line.strip() and not line.strip().startswith(_NOISE)]
    return "; ".join(dict.fromkeys(useful))[:400]


#: A word that names a key plainly, and a plain choice of a group; others are left to Hydra's grammar.
_PLAIN_WORD, _PLAIN_CHOICE = re.compile(r"([A-Za-z_][\w.]*)=(.*)", re.DOTALL), re.compile(r"\w*")


def _check_words(overrides: Sequence[str], kind: type[TrainConfig]) -> None:
    """Raise `ConfigError` for keys and choices that do not exist, with the nearest that do."""
    known = [*flatten(kind()), *kind.groups]
    groups = {key.partition(".")[0] for key in known}
    for word in overrides:
        if (found := _PLAIN_WORD.fullmatch(word)) is None:
            continue
        key, value = found.groups()
        names = kind.groups.get(key)
        if names and _PLAIN_CHOICE.fullmatch(value) and value not in names:
            near = [f"{key}={name}" for name in difflib.get_close_matches(value, names, 1)]
            said = f"{key}={value}: there is no such {key}, but {', '.join(names)}"
        elif key not in known and key not in groups:
            near = _similar_keys(key, known)
            command = f"python -m training train method={kind().method.name} --help"
            said = f"{word[:80]}: there is no key {key[:60]}; '{command}' lists all"
        else:
            continue
        raise ConfigError(said + (f"; did you mean {' or '.join(near[:3])}?" if near else ""))


def _similar_keys(key: str, known: Sequence[str]) -> list[str]:
    """The known key nearest to one that is none, also where its group was left out or is another's."""
    last = key.rpartition(".")[2]
    ends = {name.rpartition(".")[2]: name for name in reversed(known)}
    same = [name for name in known if name.rpartition(".")[2] == last]
    return (
        difflib.get_close_matches(key, known, 1, 0.75)
        or same
        or [ends[end] for end in difflib.get_close_matches(last, ends, 1)]
        or difflib.get_close_matches(key, known, 1)
    )


def check(config: TrainConfig) -> None:
    """Raise `ConfigError` for a value out of range or a combination without sense."""
    from .sizes import check_grid, refuse

    flat = flatten(config)
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value} is no number that can be used")
        if isinstance(value, str) and any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
            raise ConfigError(f"{key}={ascii(value)[:60]} holds a control character, or a byte that is no UTF-8")
    config.rules.check(flat)
    if config.hardware.strategy == "fsdp":
        if config.hardware.devices * config.hardware.nodes < 2:
            raise ConfigError(
                "hardware.strategy=fsdp shares the networks out over ranks; it needs hardware.devices=2 or more"
            )
        if config.hardware.precision == "fp16":
            raise ConfigError(
                "hardware.strategy=fsdp: loss scaling of shares is not supported; use precision bf16 or fp32"
            )
    if config.hardware.compile and config.hardware.mode != "fast":
        raise ConfigError(f"hardware.compile=true needs hardware.mode=fast, not {config.hardware.mode}")
    check_grid(config.network)
    config.check()
    refuse(config.size_problems())


def differences(before: dict[str, Any], now: dict[str, Any], free: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """(forbidden, allowed) differences between a checkpoint's flat configuration and the one asked for.

    Each is a line ``key: old -> new``. Forbidden are those that make it another experiment: all but the `free`
    keys.
    """
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    lines = {key: f"{key}: {before.get(key)} -> {now.get(key)}" for key in changed}
    return [v for k, v in lines.items() if k not in free], [v for k, v in lines.items() if k in free]


def layout(config: TrainConfig, ranks: int) -> int:
    """Accumulation steps with which `ranks` x micro-batch x accumulation is the global batch.

    Raises:
        ConfigError: there is none, or another was asked for; lists the layouts that would do.
    """
    total, hardware = config.preset.global_batch, config.hardware
    accumulation = hardware.accumulation or max(total // (ranks * hardware.micro_batch), 1)
    if ranks * hardware.micro_batch * accumulation == total:
        return accumulation
    fitting = [
        f"{r} x {m} x {total // (r * m)}"
        for r in range(1, total + 1)
        if total % r == 0
        for m in range(1, total // r + 1)
        if total // r % m == 0
    ]
    same = [line for line in fitting if line.startswith(f"{ranks} x ")]
    raise ConfigError(
        f"{ranks} ranks x micro-batch {hardware.micro_batch} x accumulation {accumulation} is "
        f"{ranks * hardware.micro_batch * accumulation}, not preset.global_batch={total}; "
        f"these would do (ranks x hardware.micro_batch x hardware.accumulation): {', '.join((same or fitting)[:12])}"
    )
