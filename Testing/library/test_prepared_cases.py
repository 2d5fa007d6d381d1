"""Cases of a cohort's visits: a measured PET that cannot be used is left out, and spoils no other tracer's."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from RelAPETLib import synthesis
from RelAPETLib.cohort.prepared import prepared_case
from RelAPETLib.cohort.request import Request
from RelAPETLib.cohort.visits import Visit
from RelAPETLib.errors import InputError
from RelAPETLib.synthesis import Options, prepare_case
from RelAPETLib.volumes.frames import PetScan

TRACERS = ("TAU", "PIB", "PBR")


@pytest.fixture
def case_of(tmp_path, grid_case):
    """The case of a visit with all tracers measured, and who was left out."""
    model = SimpleNamespace(
        metadata={"inputs": ["t1w"], "name": "m", "tracers": dict.fromkeys(TRACERS, {"output": "relative"})}
    )
    pets = {tracer: PetScan(tracer, grid_case["pet"], {}, ()) for tracer in TRACERS}
    visit = Visit("sub-1", "", grid_case["t1w"], grid_case["t2f"], pets=pets)
    request = Request(tmp_path, tmp_path / "out", Options(tracers=TRACERS, preprocessed=True))
    return lambda: prepared_case(request, visit, TRACERS, model, lambda fraction, message: None)


def registering(monkeypatch, spoils):
    """Let `prepare_case` raise what `spoils` says of the tracers that it is given, and count its calls."""
    calls = []

    def prepared(t1w, t2f, *, references, on_doubtful_pet=None, **more):
        calls.append(tuple(references))
        if reason := spoils(tuple(references)):
            raise InputError(reason)
        return SimpleNamespace(ready=SimpleNamespace(pets=dict(references)))

    monkeypatch.setattr(synthesis, "prepare_case", prepared)
    return calls


def test_one_bad_pet_leaves_the_others(case_of, monkeypatch):
    calls = registering(monkeypatch, lambda given: "no PET" if "TAU" in given else "")
    case, lost = case_of()
    assert set(case.ready.pets) == {"PIB", "PBR"} and lost == {"TAU": "no PET"}
    assert calls == [TRACERS, (), *((tracer,) for tracer in TRACERS), ("PIB", "PBR")]


def test_two_bad_pets_leave_the_third(case_of, monkeypatch):
    registering(monkeypatch, lambda given: "no PET" if {"TAU", "PBR"} & set(given) else "")
    case, lost = case_of()
    assert set(case.ready.pets) == {"PIB"} and set(lost) == {"TAU", "PBR"}


def test_pets_that_do_alone_but_not_together_are_all_left_out(case_of, monkeypatch):
    registering(monkeypatch, lambda given: "the same volume" if len(given) > 1 else "")
    case, lost = case_of()
    assert case.ready.pets == {} and lost == dict.fromkeys(TRACERS, "the same volume")


def test_a_bad_mri_is_its_own_error(case_of, monkeypatch):
    registering(monkeypatch, lambda given: "no brain")
    with pytest.raises(InputError, match="no brain"):
        case_of()


def test_a_pet_over_no_brain_is_left_out_alone(grid_case, monkeypatch):
    from RelAPETLib import preprocessing

    own = preprocessing.from_grid

    def odd(*given, **more):
        ready = own(*given, **more)
        return replace(ready, pets={"TAU": ready.t1w, "PIB": ready.t1w},
                       pet_quality={"TAU": {"pet_outline": 0.5}, "PIB": {"pet_outline": 0.99}})  # fmt: skip

    monkeypatch.setattr(preprocessing, "from_grid", odd)
    lost = {}
    case = prepare_case(grid_case["t1w"], grid_case["t2f"], preprocessed=True, on_doubtful_pet=lost.__setitem__)
    assert set(case.ready.pets) == set(case.ready.pet_quality) == {"PIB"}
    assert set(lost) == {"TAU"} and "does not fit the MRI's brain" in lost["TAU"]
