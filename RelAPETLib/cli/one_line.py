"""A parser of command lines whose errors are one line that names the command's own help and the nearest option."""

from __future__ import annotations

import argparse
import difflib

from ..errors import InputError


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a mistake is one line (raised as `InputError`) instead of usage and exit."""

    def error(self, message: str):
        raise InputError(f"{message}; see '{self.prog} --help'")

    def parse_known_args(self, args=None, namespace=None):
        """As argparse, but what a command does not know is refused by it, not by the program around it."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            given = (word.partition("=")[0] for word in unknown if word.startswith("-"))
            near = [name for word in given for name in difflib.get_close_matches(word, known, 1)]
            hint = f"; did you mean {' and '.join(dict.fromkeys(near))}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown
