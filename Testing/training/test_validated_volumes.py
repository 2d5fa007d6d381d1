"""Which volumes a validation looks at: of all tracers, since the best checkpoint is chosen by them."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import training_cases as cases
from training_runs import Phantoms, tiny_config, tiny_data

from training import checkpoints
from training.data.cache import Item, open_cache
from training.data.dataset import PetDataset
from training.loop import run
from training.methods.rela.latent.encoded import LatentDataset
from training.validation import fixed_subset, spread


class Scans(Phantoms):
    """Phantoms of people with these tracers each, as a `PetDataset` has them: person by person."""

    def __init__(self, people: list[str]):
        self.items = [Item(f"{n}", f"{n}", tracer) for n, own in enumerate(people) for tracer in own.split()]
        super().__init__(len(self.items))


ALL = "PBR PIB TAU"


@pytest.mark.parametrize("own", [ALL, "PIB TAU", "TAU"])
@pytest.mark.parametrize("people", [1, 2, 3, 4, 5, 8, 12, 30, 64])
@pytest.mark.parametrize("volumes", [1, 2, 3, 4, 8, 32])
def test_every_tracer_is_looked_at_where_there_are_as_many_volumes(own, people, volumes):
    data, tracers = Scans([own] * people), own.split()
    chosen = fixed_subset(data, volumes)
    assert len(set(chosen)) == len(chosen) == min(volumes, len(data))
    seen = Counter(data.items[place].tracer for place in chosen)
    assert len(seen) == min(len(tracers), volumes)
    if chosen != spread(len(data), volumes):
        assert max(seen.values()) - min(seen.values()) <= 1
        assert len({data.items[place].subject for place in chosen}) >= min(people, volumes) // 2


def test_a_rare_tracer_is_looked_at():
    data = Scans([*["PBR PIB"] * 7, ALL, *["PBR PIB"] * 8])
    assert {data.items[place].tracer for place in fixed_subset(data, 4)} == set(ALL.split())


def test_items_at_equal_distances_stay_where_they_are_of_all_tracers():
    data = Scans([ALL] * 5)
    assert fixed_subset(data, 4) == spread(15, 4) == [0, 3, 7, 11]
    assert fixed_subset(Phantoms(15), 4) == spread(15, 4), "of data that do not say their tracers"


def test_a_cache_s_people_and_their_latents(tmp_path, eight_people):
    cache = open_cache(cases.simulated(tmp_path / "c", 8, eight_people))
    tracers = Counter(item.subject for item in cache.items())
    whole = [subject for subject, count in tracers.items() if count == 3][:4]
    data = PetDataset(cache, whole, factor=10)
    assert len(data) == 12 and {data.items[place].tracer for place in spread(12, 4)} == {"PBR"}
    chosen = fixed_subset(data, 4)
    assert {data.items[place].tracer for place in chosen} == set(ALL.split())
    coded = LatentDataset(SimpleNamespace(x0=data.items), data, True)
    assert fixed_subset(coded, 4) == chosen


def test_the_best_by_one_tracer_is_not_compared_with_the_best_by_all(tmp_path, capsys):
    words = ("run.checkpoint_every=1", "run.validate_every=1", "run.validation_volumes=4")
    data = replace(tiny_data(), validation=Scans([ALL] * 4))
    folder = tmp_path / checkpoints.FOLDER
    assert run(tiny_config(tmp_path, "run.steps=1", *words), data, quiet=True) == 0
    path, saved = checkpoints.latest(tmp_path)
    del saved["validated"]  # as earlier versions wrote
    checkpoints.save(path, {**saved, "best_psnr": 99.0})
    assert run(tiny_config(tmp_path, "run.steps=2", *words), data, quiet=True) == 0
    assert "best.pt is kept as best-until-00000001.pt" in capsys.readouterr().out
    assert checkpoints.load(folder / "best.pt")["step"] == 2
    assert run(tiny_config(tmp_path, "run.steps=3", *words), data, quiet=True) == 0
    assert not (folder / "best-until-00000002.pt").exists()
