"""One scan under the names of two people: it would count twice in every table and mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ..notices import warn
from .records import INPUTS


def shared_scans(made: Iterable[tuple[dict, dict[str, str]]]) -> Iterator[tuple[dict, str]]:
    """Columns of ``notes.tsv`` and the note, of each person and session whose scan another person has, too.

    Args:
        made: of each result the first columns of ``notes.tsv``, and by role the hashes of its scans.

    Warns:
        RelAPETWarning: if there are any; one line for all.
    """
    owners: dict[tuple[str, str], dict[tuple[str, str], dict]] = defaultdict(dict)
    for key, hashes in made:
        for scan in hashes.items():
            owners[scan].setdefault((key["participant_id"], key["session"]), key)
    found: dict[tuple[str, str], tuple[dict, str]] = {}
    for (role, _), who in owners.items():
        people = sorted({person for person, _ in who})
        for place, key in who.items() if len(people) > 1 else ():
            others = ", ".join(person for person in people if person != place[0])
            found.setdefault(place, (key, f"{INPUTS.get(role, 'measured PET')} is also that of {others}"))
    if found:
        person, words = min((person, words) for (person, _), (_, words) in found.items())
        warn(
            f"{len({person for person, _ in found})} people share scans, such as {person}, whose {words}; every table "
            "counts them as so many people: if they are one, leave all names but one out"
        )
    for key, words in found.values():
        yield key, f"its {words}: one scan under two names"
