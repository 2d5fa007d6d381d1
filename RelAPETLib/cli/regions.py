"""``relapet regions``: label images that a user keeps for ``relapet evaluate``."""

from __future__ import annotations

from ..homes import given_path
from .actions import actions_of


def add_parser(commands, common) -> None:
    parser = commands.add_parser(
        "regions",
        help="list, add or remove regions to measure in",
        description="Regions that relapet evaluate measures in: those that come with it, and your own label images and "
        "masks, such as Centiloid's, which may not be shipped. They are kept in RELAPET_HOME and verified when used.",
        allow_abbrev=False,
    )
    add = actions_of(parser, common)
    add("list", _list, "list the regions that are there")
    adding = add("add", _add, "keep a label image or mask under a name")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("file", type=given_path, metavar="FILE", help="label image or mask with whole numbers")
    adding.add_argument(
        "--lut",
        type=given_path,
        metavar="FILE",
        help="its labels: a table with index and name, FreeSurfer's or ITK-SNAP's",
    )
    adding.add_argument("--space", choices=("MNI",), default="MNI", help="space of the labels (default: %(default)s)")
    adding.add_argument("--overwrite", action="store_true", help="replace those of this name")
    add("remove", _remove, "delete regions that were added").add_argument("name", metavar="NAME")


def _list(arguments, reporter) -> int:
    """All that are there; of one that cannot be used, why: it hides none of the others."""
    from ..errors import InputError
    from ..regions import stored

    atlases, refused, lines = [], [], []
    for name in stored.names():
        try:
            atlas = stored.load(name)
        except InputError as error:
            refused.append({"name": name, "problem": str(error)})
            lines.append(f"{name:<16} damaged: {error}")
            continue
        atlases.append({"name": name, "space": atlas.space, "regions": list(atlas.labels), **atlas.facts})
        lines.append(f"{name:<16} {atlas.space}: {', '.join(atlas.labels)}")
    reporter.result("regions", {"action": "list", "atlases": atlases, "refused": refused}, lines)
    return 0


def _add(arguments, reporter) -> int:
    from ..regions import stored

    atlas = stored.add(arguments.name, arguments.file, arguments.lut, overwrite=arguments.overwrite)
    content = {"action": "add", "name": atlas.name, "regions": list(atlas.labels), **atlas.facts}
    shown = f"{len(atlas.labels)} region{'s' * (len(atlas.labels) > 1)}"
    text = f"{atlas.name}: {shown} kept; use them with relapet evaluate --atlas {atlas.name}"
    reporter.result("regions", content, [text])
    return 0


def _remove(arguments, reporter) -> int:
    from ..regions import stored

    folder = stored.remove(arguments.name)
    reporter.result("regions", {"action": "remove", "path": str(folder)}, [f"removed {folder}"])
    return 0
