"""One brain for all models of a person: what a model leaves out costs it what it leaves out."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from evaluation_study import GRID, nearest_indices, paint

from RelAPETLib.errors import InputError
from RelAPETLib.evaluation import brains, run
from RelAPETLib.evaluation.brains import DSEG, MASK, TEMPLATE, UNION, WARPED, Brain, Brains
from RelAPETLib.evaluation.pairs import Pair
from RelAPETLib.evaluation.parts import Parts
from RelAPETLib.evaluation.run import measure_all
from RelAPETLib.evaluation.settings import Settings
from RelAPETLib.grid import array_to_image, image_to_array
from RelAPETLib.notices import collected, listening
from RelAPETLib.regions import load_regions
from RelAPETLib.volumes import write_volume

LEFT_OUT = ("striatum", "thalamus")


def written(path, array):
    write_volume(array_to_image(array.astype(np.float32), GRID), path)
    return path


@pytest.fixture(scope="module")
def rivals(tmp_path_factory):
    """Folder with a measured PET and three models: 5 % too high, the same with two regions at 0, and perfect but so."""
    folder = tmp_path_factory.mktemp("rivals")
    measured = paint(1.2 + 0.1 * np.arange(12))
    labels, regions = image_to_array(load_regions()[0])[nearest_indices()], load_regions()[1]
    out = np.isin(labels, [region.label for region in regions if region.name in LEFT_OUT])
    pet = {"measured": measured, "high": 1.05 * measured, "lacking": np.where(out, 0, 1.05 * measured),
           "perfect": np.where(out, 0, measured)}  # fmt: skip
    return folder, {name: written(folder / f"{name}.nii.gz", array) for name, array in pet.items()}, measured, out


def pairs_of(files, models, **of_all):
    return [Pair("sub-1", "", "PIB", model, files[model], files["measured"], **of_all) for model in models]


MODELS = ("high", "lacking", "perfect")


def test_regions_left_out_at_0_cost_what_they_hold(rivals):
    _, files, measured, out = rivals
    found = measure_all(pairs_of(files, MODELS, space="MNI"), Settings())
    assert {fact["brain_from"] for fact in found.facts} == {TEMPLATE}, "as summary.json has it"
    brain = {row.method: row for row in found.images if row.region == "brain"}
    assert brain["lacking"].mae > brain["high"].mae and brain["lacking"].ssim < brain["high"].ssim
    window = Settings().window("PIB")[1]
    inside = image_to_array(Brains().of(Pair("sub-1", "", "PIB", "", None, None), "MNI").on(
        array_to_image(measured, GRID)), GRID) > 0  # fmt: skip
    lost = np.where(out, np.minimum(measured, window), 0)[inside] / window
    assert brain["perfect"].mae == pytest.approx(lost.mean(), rel=1e-4) and lost.mean() > 0
    values = {(v.pair.model, v.region): v for v in found.regions if v.what == "suvr"}
    for region in LEFT_OUT:
        own, other = values["perfect", region], values["high", region]
        assert 0 <= own.synthetic < 0.35 * own.measured, "the 0 that it is, but for the rim of 4 mm voxels"
        assert (own.measured, own.in_field) == (other.measured, other.in_field)
    assert values["perfect", "occipital"].synthetic == pytest.approx(values["perfect", "occipital"].measured)


def test_every_space_has_one_brain_and_says_which(rivals, tmp_path):
    _, files, measured, out = rivals
    grid = array_to_image(measured, GRID)
    few = written(tmp_path / "few.nii.gz", measured > 1.5)
    dseg = written(tmp_path / "dseg.nii.gz", out)
    shift = (8.0, -4.0, 12.0)
    sitk.WriteTransform(sitk.TranslationTransform(3, shift), str(tmp_path / "to_mni.tfm"))
    last = {"mask": few, "dseg": dseg, "to_mni": tmp_path / "to_mni.tfm"}
    wanted = [("MNI", {"dseg": dseg}, TEMPLATE), ("MNI", last, MASK), ("T1w", last, MASK),
              ("T1w", {"dseg": dseg, "to_mni": last["to_mni"]}, DSEG), ("T1w", {"to_mni": last["to_mni"]}, WARPED),
              ("T1w", {}, UNION)]  # fmt: skip
    seen = {}
    for space, known, source in wanted:
        # What one model alone has serves all.
        pairs = pairs_of(files, MODELS[:2], space=space) + pairs_of(files, MODELS[2:], space=space, **known)
        brains = Brains(pairs)
        of_each = [brains.of(pair, space) for pair in pairs]
        assert [brain.source for brain in of_each] == [source] * 3
        seen[source] = image_to_array(of_each[0].on(grid), GRID) > 0
        assert all(np.array_equal(seen[source], image_to_array(brain.on(grid), GRID) > 0) for brain in of_each)
    assert np.array_equal(seen[MASK], measured > 1.5) and np.array_equal(seen[DSEG], out)
    steps = np.divide(shift, (-4, -4, 4)).astype(int)  # LPS, on a grid of 4 mm to R, A, S
    moved = np.roll(seen[TEMPLATE], -steps, (0, 1, 2))
    assert (seen[WARPED] != moved).sum() < 0.005 * moved.sum(), "but for the edge of the template's grid"
    assert np.array_equal(seen[UNION], measured > 0), "the high model has the regions that the others lack"
    assert Brains(pairs).of(pairs[0], "T1w", synthetic=False) is None


def test_the_union_fills_holes_and_passes_over_a_pet_without_background(tmp_path):
    shell = np.zeros(GRID.shape)
    shell[10:20, 10:20, 10:20] = 1
    hollow = shell.copy()
    hollow[13:16, 13:16, 13:16] = 0
    files = {"measured": written(tmp_path / "m.nii.gz", shell), "a": written(tmp_path / "a.nii.gz", hollow),
             "b": written(tmp_path / "b.nii.gz", np.random.default_rng(0).random(GRID.shape) + 1)}  # fmt: skip
    brain = Brains(pairs := pairs_of(files, "ab", space="T1w")).of(pairs[0], "T1w")
    assert np.array_equal(image_to_array(brain.on(array_to_image(shell, GRID)), GRID), shell)


def test_different_masks_of_one_person_are_told_of(rivals, tmp_path):
    _, files, measured, out = rivals
    masks = [written(tmp_path / f"{n}.nii.gz", measured > level) for n, level in enumerate((0.5, 1.5))]
    pairs = [pairs_of(files, [model], space="MNI", mask=mask)[0] for model, mask in zip(MODELS, masks, strict=False)]
    told = []
    with collected(told):
        brain = Brains(pairs).of(pairs[1], "MNI")
    assert brain.source == MASK and ["different files as mask" in line for line in told] == [True]
    same = Brain((array_to_image((measured > 0.5).astype(np.uint8), GRID),), MASK)
    grid = array_to_image(measured, GRID)
    assert np.array_equal(image_to_array(brain.on(grid), GRID), image_to_array(same.on(grid), GRID))


def test_each_brain_is_made_once_and_results_keep_the_pairs_order(rivals, monkeypatch):
    """Pairs come model by model, as they are found; work goes person by person."""
    _, files, *_ = rivals
    spaces = {"sub-1": "MNI", "sub-2": "MNI", "sub-3": "T1w"}
    pairs = [replace(pair, participant=name, space=space) for pair in pairs_of(files, MODELS)
             for name, space in spaces.items()]  # fmt: skip
    made, own, asked = [], brains._brain, []

    def take(pair, settings, common, all_brains, found, parts):
        asked.append((pair.participant, all_brains.of(pair, pair.space)))
        parts.note(pair.name)
        if pair.model == "lacking":
            raise InputError("lacking")
        found.pairs.append(pair)
        found.facts.append({**pair.key, "unit_guessed": False})
        parts._scales.append(pair.key)

    monkeypatch.setattr(brains, "_brain", lambda pairs, *given: made.append(pairs[0].participant) or own(pairs, *given))
    monkeypatch.setattr(run, "_take", take)
    parts = Parts()
    with listening(lambda message: None):
        found = measure_all(pairs, Settings(atlases=()), parts=parts)
    assert made == ["sub-1", "sub-2", "sub-3"] and len({id(brain) for name, brain in asked if name == "sub-3"}) == 1
    kept = [pair for pair in pairs if pair.model != "lacking"]
    assert found.pairs == kept and [pair for pair, _ in found.failures] == [p for p in pairs if p not in kept]
    assert parts._scales == [pair.key for pair in kept] and parts.notes == [pair.name for pair in pairs]
