"""Commands that have commands of their own, such as ``relapet models list``."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def actions_of(parser, common) -> Callable:
    """A function ``add(name, run, words)`` that gives a command's parser an action, and returns the action's parser.

    Args:
        parser: of the command.
        common: parser of what all commands take.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, run: Callable, words: str, aliases: Sequence[str] = ()):
        action = actions.add_parser(
            name, aliases=aliases, parents=[common], help=words, description=words, allow_abbrev=False
        )
        action.set_defaults(run=run)
        return action

    return add
