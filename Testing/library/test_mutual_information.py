"""The metric of the linear registrations, and one refinement by it."""

from __future__ import annotations

import SimpleITK as sitk

from RelAPETLib.registration import copies
from RelAPETLib.registration.mutual_information import evaluate, mutual_information, on_grid, refine
from RelAPETLib.registration.template import load_template


def test_a_value_needs_no_gradients_and_a_refinement_after_it_has_them():
    template = load_template()
    small = copies.working_copy(template.t1, 6.0)
    mask = on_grid(template.mask, small)
    start = sitk.Euler3DTransform((0.0,) * 3, 0.0, 0.0, 0.05, (3.0, -2.0, 1.0))

    plain, method, fresh = (mutual_information(mask) for _ in range(3))
    plain.SetInitialTransform(start, inPlace=False)
    assert evaluate(method, small, small, start) == plain.MetricEvaluate(small, small)
    found, best = (refine(way, small, small, start, step=1.0, iterations=20) for way in (method, fresh))
    assert found[1] == best[1] and found[0].GetParameters() == best[0].GetParameters()
