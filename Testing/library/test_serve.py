"""relapet serve: many requests in one process, over real pipes, real processes and a small model."""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256

import jsonschema
import psutil
import pytest

from RelAPETLib.cli.parser import build_parser, takes_one
from RelAPETLib.cli.requests import Refused, Request, Turn, read_request
from RelAPETLib.cli.terminal import lines_of
from RelAPETLib.resources import resource

SCHEMA = json.loads(resource("serve.schema.json").read_text(encoding="utf-8"))
WAIT = 240.0


def valid(line, part):
    jsonschema.validate(line, {**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{part}"}]}, cls=jsonschema.Draft202012Validator)
    return line


class Client:
    """A server of its own process, and what it said; every line is valid against the schemas."""

    def __init__(self, env):
        command = [sys.executable, "-m", "RelAPETLib", "serve", "--stdio"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.lines, self.said = queue.Queue(), []
        self._plain = json.loads(resource("progress.schema.json").read_text(encoding="utf-8"))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def ask(self, **request):
        self.raw(json.dumps(valid(request, "request")).encode())

    def raw(self, data):
        self.process.stdin.write(data + b"\n")
        self.process.stdin.flush()

    def until(self, **wanted):
        """The next line that has these values; None stands for the end of stdout."""
        end = time.monotonic() + WAIT
        while True:
            line = self.lines.get(timeout=end - time.monotonic())
            assert line is not None, f"it ended before {wanted}: {self.said[-3:]}"
            said = valid(json.loads(line), "answer")
            if said["type"] in ("progress", "warning", "error", "result"):
                jsonschema.validate({k: v for k, v in said.items() if k != "id"}, self._plain)
            self.said.append(said)
            if all(said.get(key) == value for key, value in wanted.items()):
                return said

    def workers(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def close(self):
        self.process.stdin.close()
        return self.process.wait(30)


@pytest.fixture
def client(tmp_path):
    client = Client({**os.environ, "RELAPET_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"})
    yield client
    if client.process.poll() is None:
        client.process.kill()
    client.process.wait(30)


def gone(processes):
    """Whether all of them end soon."""
    psutil.wait_procs(processes, timeout=15)
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


# Requests


def asked(line, known=()):
    return read_request(line if isinstance(line, bytes) else json.dumps(line).encode(), 1000, set(known), takes_one)


def test_options_are_the_command_lines():
    options = {"t1w": "a b.nii", "tracer": ["TAU", "PIB"], "seed": -1, "score": 0.5, "force": True, "yes": False}
    request = asked({"id": 1, "command": "synthesize", "options": {**options, "save_case": None}})
    words = ["--t1w=a b.nii", "--tracer=TAU", "--tracer=PIB", "--seed=-1", "--score=0.5", "--force"]
    assert request == Request(1, ("synthesize", *words))
    assert asked({"type": "run", "id": "x", "argv": ["doctor"]}) == Request("x", ("doctor",))
    assert asked({"type": "quit"}) is Turn.QUIT and asked({"type": "cancel", "id": 7}, [7]) == 7


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("evaluate", {name: ["a", "b"] for name in ("derivatives", "frames", "atlas", "other_references")}),
        ("bids", {name: ["a", "b"] for name in ("participant_label", "session-label")}),
        ("report", {"results": ["a", "b"]}),
    ],
)
def test_every_item_of_a_list_arrives(command, options):
    """However often an option is given, in a shell too."""
    request = asked({"id": 1, "command": command, "options": options})
    places = {"bids": ["data", "out", "participant"], "report": ["folder"], "evaluate": ["--out", "o"]}[command]
    shell = [word for name in options for word in (f"--{name.replace('_', '-')}", "a", "b")]
    for words in (request.argv[1:], shell):
        arguments = vars(build_parser().parse_args([command, *places, *words]))
        assert all(arguments[name.replace("-", "_")] == ["a", "b"] for name in options)


def test_no_option_of_several_values_keeps_the_last_alone():
    pending, seen = [build_parser()], 0
    while pending:
        for action in pending.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                pending += action.choices.values()
            elif action.option_strings and action.nargs in ("+", "*"):
                assert isinstance(action, argparse._ExtendAction), action.option_strings
                seen += 1
    assert seen > 6


@pytest.mark.parametrize(
    ("line", "words", "identifier"),
    [
        (b"hm", "none", None),
        (b"[1]", "JSON object", None),
        (b"\xff\xfe", "none", None),
        (b"[" * 900, "none", None),
        (b"{" + b" " * 2000, "at most 1000 bytes", None),
        ({"argv": ["doctor"]}, "needs an id", None),
        ({"id": True, "argv": ["doctor"]}, "needs an id", None),
        ({"id": 1.5, "argv": ["doctor"]}, "needs an id", None),
        ({"id": 1}, "either argv, or command", 1),
        ({"id": 1, "argv": []}, "list of texts", 1),
        ({"id": 1, "argv": ["a", 2]}, "list of texts", 1),
        ({"id": 1, "argv": ["a"], "options": {}}, "either argv, or command", 1),
        ({"id": 1, "command": "synthesize", "options": {"t1w": {}}}, "'t1w'|t1w", 1),
        ({"id": 1, "command": "synthesize", "options": {"t1w": ["a", "b"]}}, "t1w has one value, not a list of 2", 1),
        ({"id": 1, "command": "serve"}, "another one", 1),
        ({"id": 1, "argv": ["doctor"], "more": 2}, "unknown key more", 1),
        ({"id": 9, "argv": ["doctor"]}, "in use", 9),
        ({"type": "cancel", "id": 1}, "no such request", 1),
        ({"type": "dance", "id": 1}, "unknown type dance", 1),
    ],
)
def test_a_bad_request_is_one_line(line, words, identifier):
    with pytest.raises(Refused, match=words) as raised:
        asked(line, [9])
    assert raised.value.id == identifier and "\n" not in raised.value.message


def test_lines_come_whole_and_long_ones_are_cut():
    out, into = os.pipe()
    os.write(into, b"one\ntw" + b"o\n" + b"x" * 300 + b"\nlast")
    os.close(into)
    assert [line[:12] for line in lines_of(out, 100)] == [b"one", b"two", b"x" * 12, b"last"]
    os.close(out)


def test_help_and_refusals_do_not_end_the_server(client):
    """Nor does a request that nobody understands, nor one that is too long."""
    assert client.until(type="ready")["version"]
    client.raw(b"hm")
    assert client.until(type="error")["id"] is None
    client.raw(b'{"id": 1, "argv": ["' + b"x" * (1 << 20) + b'"]}')
    assert "at most" in client.until(type="error")["message"]
    client.ask(id="help", argv=["--help"])
    client.ask(id=2, command="synthesize", options={"tracer": "TAU", "t1w": "none.nii", "t2f": "n", "out": "o"})
    client.ask(id=3, command="bagel")
    assert client.until(type="end", id="help")["exit_code"] == 0
    assert any("usage: relapet" in line.get("text", "") for line in client.said)
    assert client.until(type="end", id=2) == {"type": "end", "id": 2, "exit_code": 2, "how": "exited"}
    assert "none.nii: no such file" in client.said[-2]["message"]
    client.ask(type="quit")
    assert client.until(type="end", id=3)["exit_code"] == 2
    assert client.process.wait(30) == 0


def test_other_commands_speak_as_before():
    """argparse shares the options of all commands: a default of this one's own would be everybody's."""
    from RelAPETLib.cli.parser import build_parser

    assert build_parser().parse_args(["doctor"]).progress == "human"
    assert build_parser().parse_args(["serve", "--stdio"]).speaks == "json"


def test_the_server_imports_nothing_heavy():
    code = (
        "import sys, json; import RelAPETLib.cli.serve, RelAPETLib.cli.parser; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "SimpleITK", "jsonschema"} & set(json.loads(done.stdout))


# Work


@pytest.fixture(scope="module")
def options(grid_case, tiny_latent):
    return {
        "t1w": str(grid_case["t1w"]), "t2f": str(grid_case["t2f"]), "tracer": "TAU", "model": str(tiny_latent),
        "preprocessed": True, "steps": 1, "samples": 2, "device": "cpu", "no_report": True, "uncompressed": True,
    }  # fmt: skip


def hashes(folder):
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix != ".json"}


@pytest.mark.slow
def test_two_syntheses_a_kill_and_a_cancel(client, options, tmp_path):
    """One worker does two; what is killed or cancelled is lost alone; all results are a fresh process's."""
    client.ask(id=1, command="synthesize", options=options | {"out": str(tmp_path / "1")})
    client.ask(id=2, command="synthesize", options=options | {"out": str(tmp_path / "2")})
    assert client.until(type="end", id=1)["exit_code"] == 0
    first = client.workers()
    assert client.until(type="end", id=2)["exit_code"] == 0 and client.workers() == first
    client.ask(id=3, command="synthesize", options=options | {"out": str(tmp_path / "3")})
    client.ask(id=4, command="synthesize", options=options | {"out": str(tmp_path / "4")})
    client.until(type="progress", id=3)
    first[0].kill()
    end = client.until(type="end", id=3)
    assert (end["how"], end["exit_code"]) == ("crashed", 1) and "memory runs out" in client.said[-2]["message"]
    assert not (tmp_path / "3" / "synthetic_pet.json").exists()
    client.until(type="progress", id=4)
    second = client.workers()
    assert second != first
    client.ask(id=5, argv=["models", "path", "demo"])
    client.ask(type="cancel", id=5)
    client.ask(type="cancel", id=4)
    assert client.until(type="end", id=5)["how"] == "cancelled", "one that waits"
    assert client.until(type="end", id=4) == {"type": "end", "id": 4, "exit_code": 143, "how": "cancelled"}
    assert gone(second) and not (tmp_path / "4").exists()
    client.ask(id=3, command="synthesize", options=options | {"out": str(tmp_path / "3")})
    assert client.until(type="end", id=3)["exit_code"] == 0
    words = []
    for name, value in (options | {"out": str(tmp_path / "fresh")}).items():
        option = "--" + name.replace("_", "-")
        words += [option] if value is True else [option, str(value)]
    subprocess.run([sys.executable, "-m", "RelAPETLib", "synthesize", *words], check=True, capture_output=True)
    fresh = hashes(tmp_path / "fresh")
    assert "synthetic_pet.nii" in fresh and all(hashes(tmp_path / name) == fresh for name in "123")


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("how", ["eof", "kill", "term"])
def test_nothing_survives_the_server(client, options, tmp_path, how):
    client.ask(id=1, command="synthesize", options=options | {"out": str(tmp_path / "out")})
    client.until(type="progress", id=1)
    workers = client.workers()
    assert workers
    if how == "eof":
        assert client.close() == 0
    else:
        client.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
        client.process.wait(30)
    assert gone(workers) and not (tmp_path / "out" / "synthetic_pet.json").exists()


def test_a_kept_model_is_the_same_and_a_changed_one_is_not(tiny_latent, tmp_path):
    import shutil

    from RelAPETLib.errors import ModelError
    from RelAPETLib.models import KeptModels

    kept, copy = KeptModels(), tmp_path / "copy"
    shutil.copytree(tiny_latent, copy)
    one, two = kept.load(tiny_latent), kept.load(copy)
    assert one.method is two.method and two.folder == copy and one.folder == tiny_latent
    weights = next(copy.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    with pytest.raises(ModelError):
        kept.load(copy)
    kept.load("demo")
    assert kept.load(tiny_latent).method is not one.method, "one is kept, no more"
