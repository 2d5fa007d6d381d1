"""Files of draws that calibrate, steps and departure keep: a damaged one is drawn again."""

from types import SimpleNamespace

import numpy as np
import pytest

from training import calibrate, departure, few_steps
from training.drawn import keep_arrays, kept_arrays

MODEL = SimpleNamespace(weights_sha256="w")
RECORDS = [{"case": name, "subject": name, "pets": {"TAU": {}}} for name in "abc"]
CACHE = SimpleNamespace(sha256="c", index={"cases": RECORDS}, cases={record["case"]: record for record in RECORDS})
DAMAGES = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"no zip at all",
    "another byte": lambda whole: whole.replace(b"NUMPY", b"NUMPX", 1),
    "an array": lambda whole: b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_counts_as_missing_and_is_told_of(tmp_path, damage):
    path, said = tmp_path / "new" / "a.npz", []
    assert kept_arrays(path) is None
    keep_arrays(path, {"mean": np.arange(3.0), "hash": np.array("x")})
    kept = kept_arrays(path, said.append)
    assert kept["mean"].tolist() == [0, 1, 2] and str(kept["hash"]) == "x" and not said
    path.write_bytes(damage(path.read_bytes()))
    assert kept_arrays(path, said.append) is None
    (line,) = said
    assert line.startswith(f"{path}: damaged") and line.endswith("made anew")


@pytest.mark.parametrize("command", [calibrate, few_steps, departure], ids=["calibrate", "steps", "departure"])
def test_draws_go_on_over_a_damaged_file(tmp_path, monkeypatch, command):
    drawn, said = [], []

    def draw(model, people, case, *how, **more):
        drawn.append(case)
        return {"TAU": np.full((2, 1, 1, 1), float(len(drawn)))}

    def run():
        if command is departure:
            return departure.draw_moments(MODEL, CACHE, ["a", "b", "c"], 0, tmp_path, said.append)
        return command.draw_people(MODEL, CACHE, *choices, tmp_path, said.append)

    choices = [few_steps.Choices()] if command is few_steps else []
    monkeypatch.setattr(command, "draw_person", draw)
    monkeypatch.setattr(calibrate, "_sampling", lambda model: {})
    monkeypatch.setattr(departure, "_plans", lambda model: [SimpleNamespace(sampler="s", steps=1)])
    run()
    assert drawn == ["a", "b", "c"]
    run()
    assert drawn == ["a", "b", "c"], "nobody is drawn twice"
    file = tmp_path / (departure.MOMENTS if command is departure else "b.npz")
    file.write_bytes(file.read_bytes()[:100])
    found = run()
    # Moments over everybody are one file: with it everybody is gone.
    assert drawn[3:] == (["a", "b", "c"] if command is departure else ["b"])
    assert sum("damaged" in line for line in said) == 1
    assert int(found["count"]) == 3 if command is departure else list(found) == ["a", "b", "c"]
