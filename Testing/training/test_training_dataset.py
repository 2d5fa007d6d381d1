"""Split, data set, sampler and loader of the training."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import training_cases as cases
from hypothesis import given, settings
from hypothesis import strategies as st
from training_runs import COMMON

from RelAPETLib.errors import InputError
from RelAPETLib.methods.rela.voxel import VoxelDiffusion
from RelAPETLib.networks.shapes import central
from RelAPETLib.scaling import to_network, to_units
from RelAPETLib.tracers import TRACERS
from training.data.cache import Cache, open_cache
from training.data.case_dataset import CaseDataset
from training.data.dataset import (
    MIDLINE,
    Augmentation,
    PetDataset,
    StreamSampler,
    augment,
    build_loader,
    mirrored,
    moved,
    population_mean,
)
from training.data.split import Split, explicit_split, load_split, make_split
from training.reports import LOG

ROWS = [("a", "TAU"), ("a", "PIB"), ("b", "TAU"), ("c", "PBR")]
NAMES = st.sets(st.text("abcdefgh0123456789-_", min_size=1, max_size=8), min_size=3, max_size=60)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, grid_case):
    folder = tmp_path_factory.mktemp("table")
    cases.prepared(cases.write_table(folder, grid_case, ROWS), folder / "cache")
    return open_cache(folder / "cache")


# -- split ----------------------------------------------------------------------------------------------------------


@given(NAMES, st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 8), st.integers(0, 8))
@settings(deadline=None)
def test_nobody_is_in_two_parts(names, seed, train, validation, test):
    total = train + validation + test
    fractions = (train / total, validation / total, test / total)
    split = make_split(names, seed=seed, fractions=fractions)
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert set.union(*parts) == names and sum(map(len, parts)) == len(names)
    assert all(bool(part) == (share > 0) for part, share in zip(parts, fractions, strict=True))
    assert split == make_split(sorted(names, reverse=True), seed=seed, fractions=fractions)
    assert [*split.train] == sorted(split.train) and [*split.test] == sorted(split.test)


def test_another_seed_divides_otherwise():
    names = [f"s{i}" for i in range(40)]
    tests = {make_split(names, seed=seed).test for seed in range(5)}
    assert len(tests) == 5


def test_tests_may_be_kept_to_complete_subjects():
    names = [f"s{i}" for i in range(20)]
    assert set(make_split(names, test_from=names[:5]).test) <= set(names[:5])
    with pytest.raises(InputError, match="only 1 of 20 subjects may be tested on"):
        make_split(names, test_from=["s1"])


@pytest.mark.parametrize(
    ("names", "fractions", "message"),
    [
        ([], (0.7, 0.15, 0.15), "the data set is empty"),
        (["a"], (0.7, 0.15, 0.15), "1 subject cannot be divided into 3 parts"),
        (["a", "b"], (0.7, 0.15, 0.15), "2 subjects cannot"),
        (["a", "b"], (0.5, 0.6, 0), "sum to 1"),
        (["a", "b"], (0, 0.5, 0.5), "the first above 0"),
    ],
)
def test_impossible_splits(names, fractions, message):
    with pytest.raises(InputError, match=message):
        make_split(names, fractions=fractions)


def test_one_subject_can_be_trained_on():
    assert make_split(["a"], fractions=(1, 0, 0)).train == ("a",)
    with pytest.raises(InputError, match="nobody in its test part"):
        make_split(["a"], fractions=(1, 0, 0)).part("test")


def test_explicit_lists():
    split = explicit_split("abcd", {"train": ["b", "a"], "test": ["c"]})
    assert split.train == ("a", "b") and split.unused == ("d",) and not split.validation
    for lists, message in (
        ({"train": ["a"], "test": ["a"]}, "twice"),
        ({"train": ["z"]}, "z is not in the cache"),
        ({"training": ["a"]}, "unknown part"),
        ({"test": ["a"]}, "nobody to train on"),
    ):
        with pytest.raises(InputError, match=message):
            explicit_split("abcd", lists)


def test_a_split_file_that_was_changed_is_refused(cache, tmp_path):
    path = tmp_path / "split.json"
    split = make_split(cache.subjects, seed=4)
    split.save(path)
    assert load_split(path, cache) == split
    content = json.loads(path.read_text())
    content["train"], content["test"] = content["test"], content["train"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="was changed after it was written"):
        load_split(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="not a split"):
        load_split(path)
    with pytest.raises(InputError, match="no split"):
        load_split(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(("a", "b", "c", "z"), (), ()), "1 subject.s. in the split, but not in the cache, first z"),
        (Split(("a", "b"), (), ()), "1 subject.s. not in the split, first c"),
    ],
)
def test_a_split_of_other_subjects_is_refused(cache, tmp_path, split, message):
    split.save(tmp_path / "split.json")
    with pytest.raises(InputError, match=message):
        load_split(tmp_path / "split.json", cache)


# -- data set -------------------------------------------------------------------------------------------------------


def test_items_are_what_the_cache_holds(cache):
    data = PetDataset(cache, ["a", "c"])
    assert [(i.subject, i.tracer) for i in data.items] == [("a", "PIB"), ("a", "TAU"), ("c", "PBR")]
    item = data[1]
    assert item["label"] == 2 and item["tracer"] == "TAU" and item["subject"] == "a"
    for name in ("t1w", "t2f", "pet"):
        assert item[name].shape == (1, 160, 180, 160) and item[name].dtype == torch.float32
        assert -1 <= item[name].min() and item[name].max() <= 1
    suvr = cache.array("a", "pet_TAU").astype(np.float32)
    np.testing.assert_allclose(item["pet"][0], suvr / 1.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(item["t1w"][0], cache.array("a", "t1w"))


def test_minmax_takes_each_volumes_own_range(cache):
    pet = PetDataset(cache, ["b"], scaling="minmax")[0]["pet"]
    assert pet.min() == -1 and pet.max() == pytest.approx(1)


def test_pet_in_network_values_is_the_librarys(cache):
    """One formula for what is learned from and for what is measured and shown."""
    suvr = cache.array("a", "pet_TAU").astype(np.float32)
    for scaling, window in (("suvr", TRACERS["TAU"].suvr_window), ("minmax", (float(suvr.min()), float(suvr.max())))):
        pet = PetDataset(cache, ["a"], tracers=["TAU"], scaling=scaling)[0]["pet"][0].numpy()
        np.testing.assert_array_equal(pet, to_network(suvr, window))
        np.testing.assert_allclose(to_units(pet, window), np.clip(suvr, *window), atol=1e-5)


def test_pooling_and_cropping_agree_with_the_exported_model(cache):
    item = PetDataset(cache, ["b"], factor=4, crop=(40, 44, 40))[0]
    network = VoxelDiffusion(
        factor=4, crop=[40, 44, 40], channels=[8], num_res_blocks=1, attention_levels=[False],
        num_head_channels=8, cross_attention_dim=8,
    )  # fmt: skip
    whole = PetDataset(cache, ["b"])[0]
    seen = network.encode_condition(torch.cat([whole["t1w"], whole["t2f"]])[None])[0]
    assert torch.equal(seen, torch.cat([item["t1w"], item["t2f"]]))
    assert network.diffusion_shape == (1, *item["pet"].shape[1:])
    ramp = torch.arange(160.0)[:, None, None] / 400 + torch.arange(180.0)[:, None] / 500 - torch.arange(160.0) / 600
    pooled = central(torch.nn.functional.avg_pool3d(ramp[None, None], 4), (40, 44, 40))
    decoded = network.decode(pooled)[0, 0]  # blocks come back where they were: a ramp stays what it is
    assert decoded.shape == ramp.shape and (decoded - ramp)[2:158, 2:174, 2:158].abs().max() < 1e-5
    assert (decoded[:, 178:] < -0.5).all()  # what the crop left out is background


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "window"}, "unknown PET scaling"),
        ({"factor": 3}, "does not divide"),
        ({"factor": 2, "crop": (80, 92, 80)}, "no part of the grid"),
        ({"tracers": ["FDG"]}, "unknown tracer"),
        ({"tracers": ["PBR"]}, "have no PET of PBR"),
    ],
)
def test_impossible_data_sets(cache, options, message):
    with pytest.raises(InputError, match=message):
        PetDataset(cache, ["a"], **options)


def test_population_mean(cache):
    expected = (cache.array("a", "pet_TAU").astype(np.float64) + cache.array("b", "pet_TAU")) / 2
    np.testing.assert_allclose(population_mean(cache, ["a", "b"], "TAU"), expected, rtol=1e-6)
    with pytest.raises(InputError, match="nobody in the training part"):
        population_mean(cache, ["b"], "PBR")


# -- caches of blocks -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coarse(tmp_path_factory, grid_case):
    folder = tmp_path_factory.mktemp("coarse")
    cases.prepared(cases.write_table(folder, grid_case, ROWS[:1]), folder / "cache", factor=5)
    return open_cache(folder / "cache")


def test_a_cache_of_blocks_is_pooled_by_what_is_left(coarse, cache):
    fine, pooled = PetDataset(cache, ["a"], tracers=["TAU"], factor=10)[0], PetDataset(coarse, ["a"], factor=10)[0]
    assert pooled["pet"].shape == fine["pet"].shape == (1, 16, 18, 16)
    deep = torch.nn.functional.avg_pool3d(torch.from_numpy(cache.mask()[None].astype(np.float32)), 10) == 1
    for name in ("t1w", "t2f", "pet"):
        assert (fine[name] - pooled[name])[deep].abs().max() < 5e-3
    assert PetDataset(coarse, ["a"], factor=5)[0]["t1w"].shape == (1, 32, 36, 32)
    assert PetDataset(coarse, ["a"], factor=5, crop=(24, 28, 24))[0]["pet"].shape == (1, 24, 28, 24)
    assert population_mean(coarse, ["a"], "TAU").shape == (32, 36, 32)


def test_a_cache_of_blocks_refuses_what_it_cannot_give(coarse):
    for factor in (1, 4):
        with pytest.raises(InputError, match=f"network.factor={factor} must be a multiple of 5"):
            PetDataset(coarse, ["a"], factor=factor)
    with pytest.raises(InputError, match="augmentation needs the whole grid"):
        PetDataset(coarse, ["a"], factor=5, augmentation=Augmentation())


# -- augmentation ---------------------------------------------------------------------------------------------------


def marked(x, y, z):
    volume = torch.full((1, 160, 180, 160), -1.0)
    volume[0, x, y, z] = 1
    return volume


def place(volume):
    return [round(float(v)) for v in torch.nonzero(volume[0] > 0.5).float().mean(0)]


def test_mirroring_is_about_the_midline_of_the_brain():
    assert MIDLINE == 79
    volume = marked(79 + 12, 50, 60)
    assert place(mirrored(volume)) == [79 - 12, 50, 60]
    assert torch.equal(mirrored(mirrored(volume)), volume)


def test_moving_by_whole_voxels_and_quarter_turns_is_exact():
    volume = marked(90, 100, 70)
    shifted = moved(volume, np.zeros(3), np.array([2.0, -3.0, 5.0]))
    assert place(shifted) == [88, 103, 65]
    still = moved(volume, np.zeros(3), np.zeros(3))
    assert (still - volume).abs().max() < 1e-3
    turned = moved(volume, np.array([np.pi / 2, 0, 0]), np.zeros(3))
    y, z = place(turned)[1:]
    assert (abs(y - 89.5), abs(z - 79.5)) == pytest.approx((9.5, 10.5), abs=0.5)  # |offsets| swap axes, not scaled
    assert place(moved(turned, np.array([-np.pi / 2, 0, 0]), np.zeros(3))) == [90, 100, 70]


def test_all_volumes_move_together_and_the_draw_decides(cache):
    volume = marked(90, 100, 70)
    volume[0, 85:95, 95:105, 65:75] = 1
    how = Augmentation()
    both = augment(torch.cat([volume, volume * 0.5]), how, np.random.default_rng(3))
    assert torch.allclose(both[0][both[0] > 0.99] * 0.5, both[1][both[0] > 0.99], atol=0.02)
    data = PetDataset(cache, ["b"], augmentation=how, seed=1, factor=4)
    plain = PetDataset(cache, ["b"], factor=4)
    assert torch.equal(data[0, 5]["pet"], data[0, 5]["pet"])
    assert not torch.equal(data[0, 5]["pet"], data[0, 6]["pet"])
    assert torch.equal(data[0]["pet"], plain[0]["pet"])


# -- sampler and loader ---------------------------------------------------------------------------------------------


def taken(sampler, count):
    return list(itertools.islice(iter(sampler), count))


@given(st.integers(1, 20), st.integers(0, 1000), st.integers(0, 60), st.sampled_from([1, 2, 3]))
@settings(deadline=None)
def test_going_on_is_exact(size, seed, used, ranks):
    whole = taken(StreamSampler(size, seed=seed), used + 30)
    first = StreamSampler(size, seed=seed)
    first.advance(used)
    state = json.loads(json.dumps(first.state_dict()))
    for rank in range(ranks):
        again = StreamSampler(size, seed=seed, rank=rank, ranks=ranks)
        again.load_state_dict(state)
        assert taken(again, 10) == whole[used + rank :: ranks][:10]


def test_an_epoch_shows_everything_once_and_ranks_share_it():
    size = 12
    ranks = [taken(StreamSampler(size, seed=3, rank=r, ranks=4), 6) for r in range(4)]
    for epoch in range(2):
        seen = [i for rank in ranks for i in rank[3 * epoch : 3 * epoch + 3]]
        assert sorted(seen) == list(range(size))
    assert taken(StreamSampler(size, seed=3), 12) != taken(StreamSampler(size, seed=4), 12)
    assert taken(StreamSampler(3, seed=0, shuffle=False), 4) == [0, 1, 2, 0]
    assert [place for _, place in taken(StreamSampler(3, seed=0, draws=True), 4)] == [0, 1, 2, 3]


def test_another_data_set_or_seed_cannot_go_on():
    state = StreamSampler(5, seed=1).state_dict()
    with pytest.raises(InputError, match="size was 5, now it is 6"):
        StreamSampler(6, seed=1).load_state_dict(state)
    with pytest.raises(InputError, match="seed was 1"):
        StreamSampler(5, seed=2).load_state_dict(state)
    with pytest.raises(InputError, match="empty"):
        StreamSampler(0, seed=2)
    with pytest.raises(InputError, match="rank 2"):
        StreamSampler(5, seed=2, rank=2, ranks=2)


def test_workers_give_what_one_process_gives(cache):
    data = PetDataset(
        cache, cache.subjects, factor=5, augmentation=Augmentation(rotation_deg=0, translation_mm=0), seed=2
    )

    def batches(workers, used):
        sampler = StreamSampler(len(data), seed=7, draws=True)
        sampler.advance(used)
        loader = iter(build_loader(data, sampler, batch_size=1, workers=workers))
        return [next(loader) for _ in range(3)]

    alone, shared = batches(0, 0), batches(2, 0)
    for one, other in zip(alone, shared, strict=True):
        assert one["subject"] == other["subject"] and torch.equal(one["pet"], other["pet"])
        assert one["pet"].shape == (1, 1, 32, 36, 32) and one["label"].dtype == torch.int64
    later = batches(2, 2)  # what was read ahead by workers does not count
    assert torch.equal(later[0]["pet"], alone[2]["pet"]) and later[0]["subject"] == alone[2]["subject"]


# -- items by case --------------------------------------------------------------------------------------------------


def test_a_case_brings_the_pet_of_all_its_tracers(cache):
    """Volumes are those of the items by scan; what was not scanned is background and says so."""
    scans = PetDataset(cache, "abc", factor=4, crop=(40, 44, 40))
    data = CaseDataset(scans)
    assert len(data) == 3 and data.tracers == ("PBR", "PIB", "TAU")
    by_scan = {(item["case"], item["tracer"]): item for item in (scans[n] for n in range(len(scans)))}
    scanned = {"a": [False, True, True], "b": [False, False, True], "c": [True, False, False]}
    for item in (data[n] for n in range(3)):
        assert item["label"].tolist() == [0, 1, 2] and item["scanned"].tolist() == scanned[item["case"]]
        assert item["subject"] == item["case"] and item["pet"].shape == (3, 40, 44, 40)
        for tracer, pet, there in zip(data.tracers, item["pet"], item["scanned"], strict=True):
            own = by_scan.get((item["case"], tracer))
            assert (own is not None) == bool(there)
            assert torch.equal(pet, torch.full_like(pet, -1) if own is None else own["pet"][0])
            assert own is None or (torch.equal(item["t1w"], own["t1w"]) and torch.equal(item["t2f"], own["t2f"]))
    few = CaseDataset(PetDataset(cache, "ab", tracers=["TAU"], factor=4))
    assert few.tracers == ("TAU",) and few[0]["pet"].shape == (1, 40, 45, 40) and few[0]["label"].tolist() == [2]


def test_all_volumes_of_a_case_are_augmented_together(cache):
    scans = PetDataset(cache, "a", augmentation=Augmentation(), seed=1, factor=4)
    data = CaseDataset(scans)
    plain, moved_item, again, other = data[0], data[0, 5], data[0, 5], data[0, 6]
    assert torch.equal(moved_item["pet"], again["pet"]) and not torch.equal(moved_item["pet"], other["pet"])
    assert torch.equal(plain["t1w"], scans[0]["t1w"]) and not torch.equal(plain["t1w"], moved_item["t1w"])
    assert torch.equal(moved_item["t1w"], scans[0, 5]["t1w"]), "the first scan moves by the same numbers"
    assert torch.equal(moved_item["pet"][0], scans[0, 5]["pet"][0])


def test_cases_make_batches_and_a_stream(cache):
    data = CaseDataset(PetDataset(cache, "abc", factor=20))
    loader = iter(build_loader(data, StreamSampler(len(data), seed=0), batch_size=3))
    batch = next(loader)
    assert sorted(batch["subject"]) == ["a", "b", "c"] and "tracer" not in batch
    assert batch["pet"].shape == (3, 3, 8, 9, 8) and batch["t1w"].shape == (3, 1, 8, 9, 8)
    assert batch["scanned"].dtype == torch.bool and batch["scanned"].sum() == 4


def test_an_objective_asks_for_items_by_case_and_learns_from_them(cache, tmp_path):
    """A U-Net control whose loss is over all tracers of a case that were scanned, through the trainer itself."""
    from dataclasses import replace

    from training.config import load_config
    from training.loop import start_fabric
    from training.methods.base import Work
    from training.methods.unet.objective import UNetObjective
    from training.plans import plan_of
    from training.trainer import RunData, Trainer

    class OfAllTracers(UNetObjective):
        def stages(self, work):
            return replace(work.data, train=CaseDataset(work.data.train))

        def losses(self, batch, place):
            count = batch["label"].shape[1]
            mri = torch.cat([batch["t1w"], batch["t2f"]], 1).repeat_interleave(count, 0)
            made = self.modules["network"](mri, batch["label"].flatten()).view_as(batch["pet"])
            error = (made - batch["pet"]).abs()[batch["scanned"]].mean()
            return {"network": error}, {"L1": error.detach(), "scans": batch["scanned"].sum().float()}

    class Never:
        asked = False

    words = [*COMMON[:6], "method=unet_l1", "network.factor=10", "network.crop=[12,16,12]", "run.steps=8"]
    words += ["preset.global_batch=3", "hardware.micro_batch=3", "data.workers=0", "hardware.accelerator=cpu"]
    config = load_config([*words, "run.log_every=1", "data.cache=c", f"out={tmp_path}", "preset.learning_rate=1e-2"])
    scans = PetDataset(cache, "abc", factor=10, crop=(12, 16, 12))
    fabric, objective = start_fabric(config), OfAllTracers(config)
    ready = objective.stages(Work(fabric, RunData(scans, scans, ""), Never, quiet=True))
    assert Trainer(fabric, objective, ready, plan_of(config, len(ready.train), 1), quiet=True).train(Never) == 0
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    learned = [line for line in lines if line["group"] == "train"]
    assert {line["scans"] for line in learned} == {4.0} and learned[-1]["L1"] < 0.9 * learned[0]["L1"]
    assert [line["step"] for line in lines if line["group"] == "validation"], "validation goes scan by scan"


def test_a_cache_is_another_by_its_volumes_alone():
    """Ages, other people and a source's name may change beside a run; scans of its own people may not."""

    def cache(**changes):
        rows = [{"case": c, "subject": c, "digest": f"{c} made", "pets": {"TAU": {}}, "clinical": {}} for c in "abc"]
        rows[0] |= changes
        return Cache(Path("x"), {"cases": rows, "sha256": str(changes)})

    ours = cache().volumes_sha256("a", "b")
    assert cache(clinical={"age": 70}).volumes_sha256("b", "a") == ours != cache().volumes_sha256("abc")
    assert cache(digest="of another scan").volumes_sha256("a", "b") != ours
    assert cache(pets={"TAU": {}, "PIB": {}}).volumes_sha256("a", "b") != ours
    assert cache(digest="of another scan").volumes_sha256("b", "c") == cache().volumes_sha256("b", "c")
