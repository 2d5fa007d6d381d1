"""One scan under the names of two people: it would count twice in every table and mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ..notices import warn
from .records import INPUTS, Record


class Scans:
    """Who has which scan, by the hashes of records."""

    def __init__(self):
        self._owners: dict[tuple[str, str], dict[tuple[str, str], dict]] = defaultdict(dict)

    def add(self, record: Record, key: dict[str, str | None]) -> None:
        """Note what a result was made from.

        Args:
            record: of the result. One that was not compared with its measured PET does not tell which that was.
            key: first columns of ``notes.tsv``.
        """
        for role, digest in record.inputs.items():
            if role in INPUTS or not record.left_out:
                self._owners[role, digest].setdefault((record.participant_id, record.session), key)

    def shared(self) -> Iterator[tuple[dict[str, str | None], str]]:
        """Columns of ``notes.tsv`` and the note, of each person and session whose scan another person has, too.

        Warns:
            RelAPETWarning: if there are any; one line for all.
        """
        found: dict[tuple[str, str], tuple[dict, str]] = {}
        for (role, _), owners in self._owners.items():
            people = sorted({person for person, _ in owners})
            for place, key in owners.items() if len(people) > 1 else ():
                others = ", ".join(person for person in people if person != place[0])
                found.setdefault(place, (key, f"{INPUTS.get(role, 'measured PET')} is also that of {others}"))
        if found:
            person, words = min((person, words) for (person, _), (_, words) in found.items())
            warn(
                f"{len({person for person, _ in found})} people share scans, such as {person}, whose {words}; every "
                "table counts them as so many people: if they are one, leave all names but one out"
            )
        for key, words in found.values():
            yield key, f"its {words}: one scan under two names"
