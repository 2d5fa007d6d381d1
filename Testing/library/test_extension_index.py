"""What Slicer's Extensions Index asks of an extension, but for what needs the network or a person.

The first half checks the rules as they are documented. The second runs the Index's own checker where
``EXTENSIONS_INDEX`` names a checkout of https://github.com/Slicer/ExtensionsIndex, or ``extensions_index`` lies among
the shared reference data; what it would fetch from this repository's public home is answered from this tree.
"""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from test_packaging import cmake_text, cmake_value, files_of

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "RelAPET" / "RelAPET.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
#: Keys of schema 1.0.2 and their types; the first three are required.
KEYS = {
    "$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str, "build_dependencies": list,
    "dicom_support_rule": str, "build_subdirectory": str, "enabled": bool, "tier": int,
}  # fmt: skip
LICENCE_NAMES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt")


@pytest.fixture(scope="module")
def entry():
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def in_tree(url: str, entry: dict) -> Path:
    """The file of this tree that an address of the repository's public home names."""
    home = entry["scm_url"].removesuffix(".git").replace("https://github.com/", "https://raw.githubusercontent.com/")
    start = f"{home}/{entry['scm_revision']}/"
    assert url.startswith(start), f"{url} does not begin with {start}"
    return ROOT / url.removeprefix(start)


def png_size(path: Path) -> tuple[int, int]:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n", path
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


# The rules as they are documented


def test_the_entry_has_the_schemas_keys_and_no_others(entry):
    assert set(entry) <= set(KEYS) and set(list(KEYS)[:3]) <= set(entry)
    assert entry["$schema"] == SCHEMA
    for key, value in entry.items():
        assert type(value) is KEYS[key], key
    assert entry["tier"] == 1, "a higher tier is given by the Index's people"
    assert entry["category"] == "Image Synthesis", "one of the Index's accepted categories, and the module's own"
    assert b"\r" not in ENTRY.read_bytes()


def test_names(entry):
    """Extension, file and CMake project have one name; the repository is Slicer + that name."""
    repository = re.fullmatch(r"https://github\.com/[\w.-]+/([\w.-]+)\.git", entry["scm_url"])[1]
    project = re.search(r"^project\((\w+)\)$", cmake_text(), re.MULTILINE)[1]
    assert ENTRY.stem == project and not project.lower().startswith("slicer")
    assert repository == f"Slicer{project}"


def test_entry_and_cmake_say_the_same(entry):
    text = cmake_text()
    assert entry["build_dependencies"] == cmake_value(text, "EXTENSION_DEPENDS").split() == ["PyTorch"]
    assert entry["scm_url"].removesuffix(".git") == cmake_value(text, "EXTENSION_HOMEPAGE")
    assert entry["build_subdirectory"] == "." and (ROOT / "CMakeLists.txt").is_file()
    assert re.findall(r"^add_subdirectory\((\w+)\)$", text, re.MULTILINE) == ["RelAPET", "RelAPETLib"]
    categories = re.search(r"parent\.categories = \[(.*)\]", (ROOT / "RelAPET" / "RelAPET.py").read_text())[1]
    assert categories == f'"{entry["category"]}"'


def test_pictures_are_in_the_tree(entry):
    text = cmake_text()
    # One line each: the Index's checker finds no others.
    (icon,) = re.findall(r'set\s*\(EXTENSION_ICONURL\s*"([^"]+)"[ ]*\)', text)
    (shots,) = re.findall(r'set\s*\(EXTENSION_SCREENSHOTURLS\s*"([^"]+)"\)', text)
    assert png_size(in_tree(icon, entry)) == (128, 128)
    for url in shots.split():
        assert min(png_size(in_tree(url, entry))) > 200, url


def test_description():
    """Some sentences for people who do not know the field, with what must not be missed."""
    words = cmake_value(cmake_text(), "EXTENSION_DESCRIPTION")
    assert 50 < len(words) < 400 and 1 <= words.count(". ") + 1 <= 3 and "\n" not in words
    for needed in ("PET", "MRI", "not for diagnosis"):
        assert needed in words


def test_licence_and_readme():
    assert [name for name in LICENCE_NAMES if (ROOT / name).is_file()] == ["LICENSE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:300]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^# RelAPET$", text, re.MULTILINE)
    for heading in ("## In 3D Slicer", "## Licence", "## How to cite"):
        assert f"\n{heading}\n" in text
    assert "Apache-2.0" in text and "arxiv.org/abs/2602.21345" in text
    pictures = re.findall(r"!\[[^\]]+\]\((?!http)([^)]+)\)", text)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)


def test_what_a_person_must_do_stands_in_one_list():
    text = (ROOT / "RelAPET" / "README.md").read_text(encoding="utf-8")
    section = text.partition("## What a person must still do\n")[2].partition("\n## ")[0]
    for needed in ("SlicerRelAPET", "3d-slicer-extension", "screenshots", "Windows", "macOS", "Test RelAPET"):
        assert needed in section, needed
    assert "Testing/slicer_harness/README.md" in text


# The Index's own checker


@pytest.fixture(scope="module")
def checker(request):
    """The checker's module, whose requests are answered from this tree and from the Index's own folder."""
    named = os.environ.get("EXTENSIONS_INDEX")
    index = Path(named) if named else request.getfixturevalue("shared") / "extensions_index"
    path = index / "scripts" / "check_description_files.py"
    if not path.is_file():
        pytest.skip(f"no checkout of Slicer's ExtensionsIndex at {index}; set EXTENSIONS_INDEX to one")
    source = path.read_text(encoding="utf-8")
    if sys.version_info < (3, 12):  # one function, which checks nothing, is written for newer Pythons
        source = re.sub(r"^def print_categories\(.*?(?=^def )", "", source, flags=re.MULTILINE | re.DOTALL)
    module = types.ModuleType("check_description_files")
    exec(compile(source, str(path), "exec"), vars(module))
    module.requests = _Answers(index, json.loads(ENTRY.read_text(encoding="utf-8")))
    return module


class _Answers:
    """``requests`` without a network: the Index's schemas, and files of this tree by their public addresses."""

    class RequestException(Exception):
        pass

    def __init__(self, index: Path, entry: dict):
        self._index, self._entry = index, entry

    def get(self, url, timeout=None, headers=None):
        if "/Schemas/" in url:
            path = self._index / "schemas" / url.rpartition("/")[2]
        else:
            path = in_tree(url, self._entry)
        if not path.is_file():
            raise self.RequestException(f"404: {url}")
        kind = "image/png" if path.read_bytes()[:4] == b"\x89PNG" else "application/json"
        return types.SimpleNamespace(
            raise_for_status=lambda: None,
            json=lambda: json.loads(path.read_text(encoding="utf-8")),
            headers={"Content-Type": kind},
        )


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The files of this tree that a clone would have."""
    folder = tmp_path_factory.mktemp("clone")
    names = "\0".join(files_of()).encode()
    command = f"tar --null -T - -cf - | tar -xf - -C '{folder}'"
    subprocess.run(["sh", "-c", command], cwd=ROOT, input=names, check=True)
    return folder


#: Each of the checker's checks and what it takes; left out: cloning, and the topics of the public repository.
CHECKS = {
    "check_repository_size": ("cloned_repository_folder",),
    "check_json_schema": (),
    "check_json_file_format": ("extension_file_path",),
    "check_extension_name": (),
    "check_category": (),
    "check_git_repository_name": (),
    "check_scm_url_syntax": (),
    "check_cmakelists_content": ("cloned_repository_folder",),
    "check_license_file": ("cloned_repository_folder",),
}
NEED_THE_NETWORK = {"check_clone_repository", "check_git_repository_topics"}


@pytest.mark.parametrize("name", CHECKS)
def test_the_indexs_own_check(checker, entry, clone, name):
    given = {"cloned_repository_folder": str(clone), "extension_file_path": str(ENTRY)}
    getattr(checker, name)(ENTRY.stem, entry, **{key: given[key] for key in CHECKS[name]})


def test_no_check_of_the_index_is_forgotten(checker):
    there = {name for name in vars(checker) if name.startswith("check_")} - {"check_dependencies"}
    assert there == set(CHECKS) | NEED_THE_NETWORK


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("check_json_schema", {"maintainer": "x"}),
        ("check_json_schema", {"tier": 9}),
        ("check_category", {"category": "Synthesis of images"}),
        ("check_git_repository_name", {"scm_url": "https://github.com/RelAPET/RelAPET.git"}),
        ("check_scm_url_syntax", {"scm_url": "ssh://github.com/RelAPET/SlicerRelAPET.git"}),
    ],
)
def test_the_checker_refuses_what_it_should(checker, entry, name, change):
    """Otherwise the checks above could not fail."""
    with pytest.raises(checker.ExtensionCheckError):
        getattr(checker, name)(ENTRY.stem, entry | change)
