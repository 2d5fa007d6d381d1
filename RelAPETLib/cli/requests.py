"""Requests of ``relapet serve``: from one line of JSON to a command line, or one line on what is wrong with it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from ..jsonfiles import parse_json
from ..notices import printable

#: Whether a command has an option of one value: of its name and the option's.
TakesOne = Callable[[str, str], bool]


@dataclass(frozen=True)
class Request:
    """A command to run: its id, and its command line without ``relapet``."""

    id: str | int
    argv: tuple[str, ...]


class Turn(enum.Enum):
    """What is no command."""

    QUIT = "quit"


class Refused(Exception):
    """A request that cannot be understood; `id` is its own, where it has one that can be told."""

    def __init__(self, message: str, identifier: str | int | None = None):
        super().__init__(message)
        self.message, self.id = message, identifier


def read_request(line: bytes, longest: int, known: set, takes_one: TakesOne) -> Request | Turn | str | int:
    """What a line asks for: a command, to quit, or, by its id alone, that a request be cancelled.

    Args:
        line: as it was read.
        longest: bytes that it may have.
        known: ids of the requests that are waiting or under way.
        takes_one: whether a command has an option of one value, of which a later one would replace an earlier one.

    Raises:
        Refused: it asks for nothing of these.
    """
    if len(line) > longest:
        raise Refused(f"a request has at most {longest} bytes")
    try:
        asked = parse_json(line.decode("utf-8"))
    except ValueError as error:
        raise Refused(f"a request is one JSON object a line; this is none ({_short(error)})") from error
    if not isinstance(asked, dict):
        raise Refused("a request is one JSON object a line; this is none")
    kind = asked.get("type", "run")
    if kind == "quit":
        _only(asked, None, "type")
        return Turn.QUIT
    identifier = asked.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int)) or len(str(identifier)) > 100:
        raise Refused("a request needs an id: a text of at most 100 letters, or a whole number")
    if kind == "cancel":
        _only(asked, identifier, "type", "id")
        if identifier not in known:
            raise Refused("there is no such request, or it has ended", identifier)
        return identifier
    if kind != "run":
        raise Refused(f"unknown type {_short(kind)}; use run, cancel or quit", identifier)
    if identifier in known:
        raise Refused("this id is in use by a request that has not ended", identifier)
    _only(asked, identifier, "type", "id", "argv", "command", "options")
    return Request(identifier, _command_line(asked, identifier, takes_one))


def _only(asked: dict, identifier, *names: str) -> None:
    for name in asked:
        if name not in names:
            raise Refused(f"unknown key {_short(name)}; there are {', '.join(names)}", identifier)


def _command_line(asked: dict, identifier, takes_one: TakesOne) -> tuple[str, ...]:
    if ("argv" in asked) == ("command" in asked) or ("argv" in asked and "options" in asked):
        raise Refused("give either argv, or command and its options", identifier)
    if "argv" in asked:
        argv = asked["argv"]
        if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
            raise Refused("argv is a list of texts, the command first", identifier)
    else:
        command, options = asked["command"], asked.get("options", {})
        if not isinstance(command, str) or not isinstance(options, dict):
            raise Refused("command is a text, and options an object", identifier)
        argv = [command, *_words(command, options, identifier, takes_one)]
    if argv[0] == "serve":
        raise Refused("a server does not start another one", identifier)
    return tuple(argv)


def _words(command: str, options: dict, identifier, takes_one: TakesOne) -> list[str]:
    """``{"t1w": "a.nii", "force": true}`` as ``--t1w=a.nii --force``; null and false are left out."""
    words = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, list) and len(value) > 1 and takes_one(command, option):
            raise Refused(f"{_short(name)} has one value, not a list of {len(value)}", identifier)
        for each in value if isinstance(value, list) else [value]:
            if each is True:
                words.append(option)
            elif isinstance(each, (str, int, float)) and each is not False:
                words.append(f"{option}={each}")
            elif each is not None and each is not False:
                raise Refused(f"the value of {_short(name)} is no text, number, true, false, null or list", identifier)
    return words


def _short(value: object) -> str:
    return printable(value, 80)
