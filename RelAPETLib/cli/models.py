"""``relapet models``: what models there are, and getting, checking, importing and removing them."""

from __future__ import annotations

from ..errors import ModelError
from ..homes import given_path
from ..notices import printable
from .actions import actions_of


def add_parser(commands, common) -> None:
    parser = commands.add_parser(
        "models",
        help="list, show, verify, fetch, import or remove models",
        description="Models of the catalogue, and the authors' published checkpoint.",
        allow_abbrev=False,
    )
    add = actions_of(parser, common)
    listing = add("list", _list, "list the models of the catalogue, of your own folder and of the models folder")
    listing.add_argument("--check", action="store_true", help="compare all weights with their hashes, too")
    showing = add("show", _show, "print what the catalogue says of a model, or its model card")
    showing.add_argument(
        "name", type=given_path, metavar="NAME", help="name of a model; with --card also the folder of one"
    )
    showing.add_argument("--card", action="store_true", help="a model card by MI-CLAIM-GEN's items, in Markdown")
    add("verify", _verify, "check that a model is whole and unchanged").add_argument(
        "name", type=given_path, metavar="NAME|DIR"
    )
    fetch = add("fetch", _fetch, "download a model, or take it from a file")
    fetch.add_argument("name", metavar="NAME")
    fetch.add_argument(
        "--from-file", type=given_path, metavar="FILE", help="a file carried here by other means, instead of a download"
    )
    add("path", _path, "print the folder of a model").add_argument("name", metavar="NAME")
    add("remove", _remove, "delete a fetched model").add_argument("name", metavar="NAME")
    folder = add("folder", _folder, "print or choose a folder of models that is only read, for places without internet")
    choice = folder.add_mutually_exclusive_group()
    choice.add_argument(
        "folder", type=given_path, metavar="DIR", nargs="?", help="folder with a model's folder in it for each model"
    )
    choice.add_argument("--none", action="store_true", help="look into no such folder any more")
    words = "make a model folder of the authors' checkpoint or of a (zipped) bundle"
    importing = add("import", _import, words, aliases=["install"])
    importing.add_argument(
        "file", type=given_path, metavar="FILE", help="e.g. epoch99_checkpoint.pt, model.zip, or a bundle's folder"
    )
    importing.add_argument(
        "--out", type=given_path, metavar="DIR", help="model folder to write (default: among the user's models)"
    )
    importing.add_argument("--overwrite", action="store_true", help="replace a model folder that is there")


def _list(arguments, reporter) -> int:
    from ..models import survey

    models, refused = survey(whole=arguments.check)
    lines = [_line(entry) for entry in models]
    lines += [f"{each['name']:<16} {'refused':<14} {each['problem']}" for each in refused]
    lines = [printable(line, None) for line in lines]  # some of it comes from folders that others fill
    reporter.result("models", {"action": "list", "models": models, "refused": refused}, lines)
    return 0


def _line(entry: dict) -> str:
    """One model, or why it would not be loaded."""
    if entry["problem"]:
        return f"{entry['name']:<16} {'damaged':<14} {entry['problem']}"
    state = "installed" if entry["installed"] else "not installed"
    steps = "1 step" if entry["steps"] == 1 else f"{entry['steps']} steps"
    facts = [", ".join(entry["tracers"]), f"{entry['output']} output", steps, entry["licence"]]
    if "t2f" in entry.get("optional_inputs", ()):
        facts.append("T2-FLAIR optional")
    if entry["place"] == "folder":
        facts.append("in the models folder")
    return f"{entry['name']:<16} {state:<14} {entry['title']} ({'; '.join(facts)})"


def _folder(arguments, reporter) -> int:
    from ..models.places import VARIABLE, is_set_by_environment, models_folder, set_models_folder

    if arguments.folder is not None or arguments.none:
        set_models_folder(arguments.folder)
    folder, forced = models_folder(), is_set_by_environment()
    text = f"models folder: {folder or 'none'}" + (
        f" (by {VARIABLE}, which comes before the setting)" if forced else ""
    )
    content = {"action": "folder", "path": None if folder is None else str(folder), "by_environment": forced}
    reporter.result("models", content, [text])
    return 0


def _show(arguments, reporter) -> int:
    from ..models import show

    if arguments.card:
        return _card(arguments.name, reporter)
    entry = show(arguments.name)
    lines = [f"{key.replace('_', ' '):<16} {_plain(value)}" for key, value in entry.items()]
    reporter.result("models", {"action": "show", "model": entry}, lines)
    return 0


def _card(name: str, reporter) -> int:
    """The card of a bundle that is here, verified, else of what the catalogue says."""
    from ..models import locate, show
    from ..report.card import model_card

    try:
        installed = show(name)["installed"]
    except ModelError:
        installed = True  # a folder, perhaps; if it is none, `locate` says so
    card = model_card(locate(name).metadata if installed else show(name), installed=installed)
    reporter.result("models", {"action": "show", "card": card}, card.rstrip("\n").split("\n"))
    return 0


def _plain(value) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "none"}[value]
    return " ".join(str(value).split())


def _verify(arguments, reporter) -> int:
    from ..models import verify

    facts = verify(arguments.name)
    text = f"{facts['name']} {facts['version']} is whole: {facts['path']} (weights SHA-256 {facts['weights_sha256']})"
    reporter.result("models", {"action": "verify", "model": facts}, [text])
    return 0


def _fetch(arguments, reporter) -> int:
    from ..models import fetch

    folder = fetch(arguments.name, arguments.from_file, progress=reporter.progress)
    reporter.result("models", {"action": "fetch", "path": str(folder)}, [f"{arguments.name} is at {folder}"])
    return 0


def _path(arguments, reporter) -> int:
    from ..models import model_path

    folder = model_path(arguments.name)
    reporter.result("models", {"action": "path", "path": str(folder)}, [str(folder)])
    return 0


def _remove(arguments, reporter) -> int:
    from ..models import remove

    folder = remove(arguments.name)
    reporter.result("models", {"action": "remove", "path": str(folder)}, [f"removed {folder}"])
    return 0


def _import(arguments, reporter) -> int:
    from ..models import import_model
    from ..models.metadata import load_json

    folder = import_model(arguments.file, arguments.out, overwrite=arguments.overwrite)
    metadata = load_json(folder / "configs" / "metadata.json", "model metadata")
    # A folder among the user's models is known by its name, any other by its path.
    model = arguments.out or folder.name
    text = f"{metadata['name']} {metadata['version']} is at {folder}; use it with --model {model}"
    content = {"action": "import", "path": str(folder), "name": metadata["name"], "model": model}
    reporter.result("models", content, [text])
    return 0
