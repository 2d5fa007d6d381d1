"""Model cards: every item of MI-CLAIM-GEN, from the metadata alone, and nothing made up."""

import json
import re

import pytest

from RelAPETLib.cli import main
from RelAPETLib.models import locate
from RelAPETLib.report.card import NOT_STATED, model_card

#: Items of the checklist, in our words, by part.
ITEMS = {
    "Part 1": ["Clinical problem", "Research question", "Selection of the cohort", "How labels", "Type of output",
               "Characteristics of the cohorts"],
    "Part 2": ["Components", "Origin of all data", "Preprocessing", "Independence of training, validation and test"],
    "Parts 3 and 4": ["Baseline", "Comparison with the baseline", "Evaluations", "Evaluation by people"],
    "Part 5": ["Interpretability", "Risks", "Bias, privacy, security", "Shifts of distribution", "after deployment"],
    "Part 6": ["Tier of transparency", "Hyperparameters", "Hardware", "Clinical model card", "Weights"],
}  # fmt: skip


def items(card):
    """Item and what follows it, by part."""
    parts = dict(re.findall(r"^## ([^:\n]+)[^\n]*\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL))
    return {part: dict(re.findall(r"^- \*\*(.*?)\*\*: ?(.*)$", text, re.MULTILINE)) for part, text in parts.items()}


def test_the_demo_models_card_has_every_item(capsys):
    assert main(["models", "show", "demo", "--card"]) == 0
    card = capsys.readouterr().out
    found = items(card)
    for part, wanted in ITEMS.items():
        for words in wanted:
            assert [item for item in found[part] if words in item], f"{part}: {words}"
    assert found["Part 5"]["Bias, privacy, security and other harm"] == NOT_STATED
    assert "2000 simulated people" in found["Part 2"]["Origin of all data"] and "simulated data only" in card
    calibration = locate("demo").metadata["calibration"]
    low, high = calibration["intervals"]["tracers"]["TAU"]["coverage_95"]
    people = calibration["intervals"]["tracers"]["TAU"]["people"]
    assert f"  - TAU: {people} people; a calibration of so many covers {low:.3f} to {high:.3f}" in card
    assert calibration["population"]["description"] in card and "withheld for every scan that is not simulated" in card
    assert f"unlike {calibration['gate']['people']} people" in found["Part 5"]["Shifts of distribution"]
    assert "  - MRI does not determine amyloid" in card and "endorsed" in card and "arXiv 2403.02558" in card


def test_a_bundle_that_says_little_gets_a_card_that_says_so(tiny_latent, capsys):
    assert main(["models", "show", str(tiny_latent), "--card", "--progress", "json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = items(line["card"])
    assert found["Part 3"] if "Part 3" in found else found["Parts 3 and 4"]["Baseline for comparison"] == NOT_STATED
    assert (
        found["Parts 3 and 4"]["Intervals of regional SUVR"] == found["Part 5"]["Shifts of distribution"] == NOT_STATED
    )
    assert found["Part 6"]["Hardware, cost and time of training"] == NOT_STATED
    assert found["Part 6"]["Differences from the paper"] == NOT_STATED
    assert re.fullmatch("[0-9a-f]{64}", found["Part 6"]["Weights, SHA-256"])


def test_a_model_that_is_not_here_is_told_from_the_catalogue(capsys):
    assert main(["models", "show", "rela-diffusion", "--card"]) == 0
    card = capsys.readouterr().out
    assert "not on this machine" in card and "NFL-LONG" in card and "simulated data only" not in card
    assert items(card)["The model"]["Input"] == NOT_STATED


def test_an_unknown_model_is_refused(capsys):
    assert main(["models", "show", "nonsense", "--card"]) == 2
    said = capsys.readouterr().err
    assert "unknown model 'nonsense'" in said and said.count("\n") == 1


@pytest.mark.parametrize("evil", ["<img src=x>", "a | b", "[x](http://y)", "**bold**", "line\n# heading", "`code`"])
def test_what_metadata_say_stays_text(evil):
    card = model_card({"name": "m", "title": evil, "description": evil, "licence": evil, "limitations": [evil * 20]})
    assert "<img" not in card and "\n# heading" not in card and "- **Licence**: " in card
    for live in (r"\]\(http", r"`code", r"\*bold"):
        assert not re.search(r"(?<!\\)" + live, card)
