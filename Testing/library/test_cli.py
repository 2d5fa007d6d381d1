"""The command line: results, progress lines, exit codes, Ctrl-C, the log."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jsonschema
import pytest

from RelAPETLib import __version__, cli, provenance
from RelAPETLib.cli import main
from RelAPETLib.cli.progress import make_reporter
from RelAPETLib.notices import warn
from RelAPETLib.resources import resource

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def line_schema():
    schema = json.loads(resource("progress.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def argv(tiny_latent, grid_case, tmp_path):
    """A synthesis that takes seconds."""
    return [
        "synthesize", "--preprocessed", "--t1w", str(grid_case["t1w"]), "--t2f", str(grid_case["t2f"]),
        "--tracer", "TAU", "--model", str(tiny_latent), "--device", "cpu", "--steps", "1", "--samples", "1",
        "--out", str(tmp_path / "aus gabe ü"),
    ]  # fmt: skip


def _lines(text, schema):
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        schema.validate(line)
    return lines


def _run(*arguments, **options):
    command = [sys.executable, "-m", "RelAPETLib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


def test_synthesize_writes_the_set_and_says_where(argv, capsys, tmp_path):
    assert main(argv) == 0
    captured = capsys.readouterr()
    assert captured.err == "", "no bar without a terminal, no library's words"
    out = tmp_path / "aus gabe ü"
    names = {path.name for path in out.iterdir()}
    assert names == {"synthetic_pet.nii.gz", "synthetic_pet.json", "regions.tsv", "report.png"}
    for name in names:
        assert str(out / name) in captured.out
    provenance.check_provenance(json.loads((out / "synthetic_pet.json").read_text(encoding="utf-8")))
    assert main(argv) == 2, "not without --overwrite"
    assert "--overwrite" in capsys.readouterr().err
    assert main([*argv, "--overwrite", "--no-report", "--space", "mni"]) == 0
    assert {path.name for path in out.iterdir()} == {
        "synthetic_pet_space-MNI.nii.gz",
        "regions.tsv",
        "synthetic_pet.json",
    }


def test_json_lines_are_all_there_is_on_stdout(argv, grid_case, line_schema):
    """In a process of its own, so that nothing a library prints from C or at exit is missed."""
    extra = ["--progress", "json", "--reference", grid_case["pet"], "--samples", "2", "--reference-region", "thalamus"]
    result = _run(*argv, *extra)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = _lines(result.stdout, line_schema)
    assert [line["type"] for line in lines].count("result") == 1 and lines[-1]["type"] == "result"
    fractions = [line["fraction"] for line in lines if line["type"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 6
    final = lines[-1]
    assert all(Path(path).is_file() for path in final["files"].values())
    assert {"uncertainty.nii.gz", "difference.nii.gz"} <= set(final["files"])
    assert final["metrics"]["brain"]["psnr"] > 0
    record = json.loads(Path(final["files"]["synthetic_pet.json"]).read_text(encoding="utf-8"))
    assert record["reference"]["reference_region"] == "thalamus"


def test_a_refusal_names_the_option_that_accepts_it(argv, capsys, line_schema, grid_case):
    swapped = [str(grid_case["t2f"]) if a == str(grid_case["t1w"]) else a for a in argv]
    swapped[swapped.index("--t2f") + 1] = str(grid_case["t1w"])
    assert main([*swapped, "--progress", "json"]) == 2
    line = _lines(capsys.readouterr().out, line_schema)[-1]
    assert line["type"] == "error" and line["accepted_by"] == "--force"
    assert "--force" in line["message"] and "swapped" in line["problem"] and "--force" not in line["problem"]


def test_errors_in_json_mode(argv, capsys, line_schema, tmp_path):
    assert main([*argv, "--progress", "json", "--tracer", "FDG"]) == 2
    captured = capsys.readouterr()
    assert _lines(captured.out, line_schema)[-1] == {
        "type": "error", "message": "unknown tracer 'FDG'; use one of TAU, PIB, PBR", "exit_code": 2,
    }  # fmt: skip
    assert captured.err.count("\n") == 1
    for asked in (["--progress", "json"], ["--progress=json"], ["--progress", "human", "--progress", "json"]):
        assert main([*argv, *asked, "--steps", "x"]) == 2
        (line,) = _lines(capsys.readouterr().out, line_schema)
        assert line["type"] == "error" and "--steps" in line["message"]


def test_warnings_reach_the_user_once_and_the_record(argv, grid_case, capsys, line_schema, tmp_path):
    swap = {"--t1w": str(grid_case["t2f"]), "--t2f": str(grid_case["t1w"])}
    swapped = [swap.get(argv[i - 1], part) if i else part for i, part in enumerate(argv)]
    assert main([*swapped, "--force"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith("relapet: warning: accepted by force: ") for line in lines)
    assert len(lines) == len(set(lines))
    assert main([*swapped, "--force", "--overwrite", "--progress", "json"]) == 0
    captured = capsys.readouterr()
    told = [line["message"] for line in _lines(captured.out, line_schema) if line["type"] == "warning"]
    record = json.loads((tmp_path / "aus gabe ü" / "synthetic_pet.json").read_text(encoding="utf-8"))
    assert told == record["warnings"] and len(told) == len(lines)


def test_progress_none_is_silent_but_for_the_result(argv, capsys):
    assert main([*argv, "--progress", "none", "--no-report"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "synthetic_pet.nii.gz" in captured.out


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"relapet {__version__}\n"
    for command in ([], ["synthesize"], ["demo"], ["models"], ["models", "fetch"], ["phantom"], ["dicom"], ["doctor"]):
        assert main([*command, "--help"]) == 0
        assert capsys.readouterr().out.startswith("usage: relapet")


@pytest.mark.parametrize(("words", "frozen"), [("program", True), ("main", False)])
def test_a_process_that_ends_looks_for_no_garbage(words, frozen):
    """`main` alone, which a server calls again and again, leaves that as it was."""
    code = (
        "import gc, sys; from RelAPETLib import cli; sys.argv = ['relapet', '--version']; "
        f"assert cli.{words}() == 0; print(gc.get_freeze_count() > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(frozen), done.stderr


def test_the_help_names_every_option_of_synthesize(capsys):
    main(["synthesize", "--help"])
    text = capsys.readouterr().out
    options = "t1w t2f tracer out model reference reference-region sampler steps samples seed device space preprocessed"
    for option in (*options.split(), "progress", "force", "overwrite", "no-report", "yes", "log-file"):
        assert f"--{option}" in text


def test_a_bug_is_one_line_and_a_traceback_in_the_log(capsys, tmp_path, monkeypatch):
    def broken(*_):
        print("noise of a library")
        raise KeyError("a bug\nof two lines")

    monkeypatch.setattr("RelAPETLib.cli.phantom.run", broken)
    log = tmp_path / "own.log"
    assert main(["phantom", "--subjects", "1", "--out", str(tmp_path / "o"), "--log-file", str(log)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("relapet: error: internal error (KeyError: ") and str(log) in captured.err
    text = log.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text and "printed: noise of a library" in text


def test_what_libraries_say_goes_to_the_log(capsys, tmp_path, monkeypatch):
    import logging

    def noisy(arguments, reporter):
        warnings.warn("deprecated thing", DeprecationWarning, stacklevel=1)
        warnings.warn("some library is unhappy", UserWarning, stacklevel=1)
        warn("the user should know")
        logging.getLogger("monai").warning("words of monai")
        print("to stderr", file=sys.stderr)
        reporter.result("phantom", {}, ["done"])
        return 0

    monkeypatch.setattr("RelAPETLib.cli.phantom.run", noisy)
    log = tmp_path / "logs" / "own.log"
    assert main(["phantom", "--subjects", "1", "--out", "o", "--log-file", str(log)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "done\n" and captured.err == "relapet: warning: the user should know\n"
    text = log.read_text(encoding="utf-8")
    for words in ("some library is unhappy", "the user should know", "words of monai", "to stderr"):
        assert words in text


def test_the_log_is_in_the_relapet_folder(capsys):
    assert main(["models", "list"]) == 0
    log = Path(os.environ["RELAPET_HOME"]) / "logs" / "relapet.log"
    assert f"relapet {__version__} models" in log.read_text(encoding="utf-8")


def test_a_home_that_cannot_be_written_stops_nothing(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RELAPET_HOME", str(tmp_path / "file"))
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (cli._Terminated, 143)])
def test_an_interrupted_command_says_so(error, code, capsys, monkeypatch, line_schema):
    def interrupted(*_):
        raise error

    monkeypatch.setattr("RelAPETLib.cli.phantom.run", interrupted)
    assert main(["phantom", "--subjects", "1", "--out", "o", "--progress", "json"]) == code
    captured = capsys.readouterr()
    assert _lines(captured.out, line_schema)[-1]["exit_code"] == code
    assert captured.err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_half_written(sent, code, argv, tmp_path, line_schema):
    """Stopped in the middle of sampling, which would take minutes."""
    out = tmp_path / "deep" / "out"
    command = [sys.executable, "-m", "RelAPETLib", *argv, "--out", str(out), "--steps", "1000", "--progress", "json"]
    # Tests run in a shell's background inherit an ignored SIGINT, and would hand it on.
    listen = functools.partial(signal.signal, sent, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=listen
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "step 2 of 1000" in line:
            process.send_signal(sent)
            break
    rest, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    assert stderr.count("\n") == 1 and "nothing half done was left" in stderr
    assert _lines("".join(lines) + rest, line_schema)[-1]["type"] == "error"
    assert not (tmp_path / "deep").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupt_while_saving_leaves_nothing(argv, capsys, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("RelAPETLib.report.write_report", stop)
    assert main(argv) == 130
    assert not list(tmp_path.iterdir())


def test_models_commands(capsys, tiny_latent, line_schema):
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "demo" in listed and "rela-diffusion" in listed
    assert main(["models", "show", "rela-diffusion", "--progress", "json"]) == 0
    (line,) = _lines(capsys.readouterr().out, line_schema)
    assert line["model"]["licence"] == "Apache-2.0" and re.fullmatch("[0-9a-f]{40}", line["model"]["source"]["commit"])
    assert main(["models", "show", "rela-diffusion"]) == 0
    assert "spacing_mm 1, 1, 1" in capsys.readouterr().out
    assert main(["models", "verify", str(tiny_latent)]) == 0
    assert "tiny-latent 0.0.1 is whole" in capsys.readouterr().out
    assert main(["models", "path", "rela-diffusion"]) == 2
    assert "relapet models fetch rela-diffusion" in capsys.readouterr().err


def test_doctor_reports_and_finds_a_broken_place(capsys, line_schema, monkeypatch, tmp_path):
    good = {"name": "m", "installed": False, "shipped": False}
    monkeypatch.setattr("RelAPETLib.models.list_models", lambda: [good])
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for words in (
        f"relapet      {__version__}",
        "torch",
        "cpu",
        "GiB free",
        "attention: ",
        "RELAPET_HOME",
        "No problems found.",
    ):
        assert words in text
    monkeypatch.setattr("RelAPETLib.models.list_models", lambda: [good | {"name": "gone", "shipped": True}])
    assert main(["doctor", "--progress", "json"]) == 2
    captured = capsys.readouterr()
    *_, report, error = _lines(captured.out, line_schema)
    assert report["problems"] == ["model gone should come with relapet but is missing; reinstall relapet"]
    assert error["type"] == "error" and captured.err.count("\n") == 1


def test_reporters_keep_messages_on_one_line(capsys, line_schema):
    reporter = make_reporter("json")
    reporter.progress(2.0, "beyond the end")
    reporter.warning("two\nlines")
    reporter.result("doctor", {"number": float("nan")}, [])
    lines = _lines(capsys.readouterr().out, line_schema)
    assert lines[0]["fraction"] == 1.0 and lines[1]["message"] == "two lines" and lines[2]["number"] is None
    reporter = make_reporter("human")
    reporter.warning("later")
    assert capsys.readouterr().err == "", "warnings wait until the command has ended well"
    reporter.close()
    assert capsys.readouterr().err == "relapet: warning: later\n"


@pytest.mark.slow
def test_phantom_writes_a_cohort(capsys, tmp_path, line_schema):
    argv = ["phantom", "--subjects", "1", "--seed", "9", "--out", str(tmp_path / "cohort"), "--progress", "json"]
    assert main(argv) == 0
    final = _lines(capsys.readouterr().out, line_schema)[-1]
    assert final["subjects"] == 1 and final["seed"] == 9
    assert len(list(Path(final["folder"]).glob("sub-*/anat/*_FLAIR.nii.gz"))) == 1
    assert main(argv) == 2, "not over a data set that is there"


@pytest.mark.slow
def test_demo_runs_everything(tiny_latent, tmp_path, line_schema):
    """Raw simulated scans through registration, synthesis, comparison, report, in a process of its own."""
    begin = time.time()
    result = _run("demo", "--out", tmp_path / "demo", "--model", tiny_latent, "--progress", "json", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    final = _lines(result.stdout, line_schema)[-1]
    (tau,) = final["syntheses"]
    assert tau["tracer"] == "TAU" and tau["metrics"]["brain"]["psnr"] > 15
    assert {"difference.nii.gz", "uncertainty.nii.gz", "report.png"} <= set(tau["files"])
    assert all(Path(path).stat().st_mtime >= begin - 1 for path in tau["files"].values())
    assert Path(final["input"]["T1w.nii.gz"]).is_file()
    again = _run("demo", "--out", tmp_path / "demo", "--model", tiny_latent)
    assert again.returncode == 2 and "--overwrite" in again.stderr and again.stderr.count("\n") == 1
