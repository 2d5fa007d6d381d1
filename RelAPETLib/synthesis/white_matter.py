"""White matter of template and T1w, whose edges let a person judge a registration by eye."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..grid import array_to_image, image_to_array

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .case import Case


def white_matter(case: Case, space: str) -> dict[str, sitk.Image]:
    """Shares of white matter, 0 to 1, on the grid of the report's pictures (`maps.bring_back`).

    Args:
        case: whose registration is to be judged.
        space: of the results, one of `options.SPACES`.

    Returns:
        ``template_white``: the template's, laid over this T1w. ``t1w_white``: the T1w's own, the brightest of three
        classes in its brain (Otsu, IEEE Trans Syst Man Cybern 1979;9:62-66); left out where the brain is of one value.
    """
    from ..preprocessing import to_t1w_space
    from ..registration.template import load_template

    maps = {"template_white": load_template().white}
    own = t1w_white(case.ready.t1w, case.ready.mask)
    if own is not None:
        maps["t1w_white"] = own
    if not shown_on_t1w(case, space):
        return maps
    return {name: to_t1w_space(image, case.ready, case.t1w_space) for name, image in maps.items()}


def shown_on_t1w(case: Case, space: str) -> bool:
    """Whether the report's pictures lie on the T1w's grid: results are wanted there and its voxels are at hand."""
    return bool(case.raw) and space in ("t1w", "both")


def t1w_white(t1w: sitk.Image, mask: sitk.Image) -> sitk.Image | None:
    """1 in the brightest of three classes of a T1w's brain, on the model grid; None where it has no three values."""
    import SimpleITK as sitk

    array, brain = image_to_array(t1w), image_to_array(mask) > 0
    inside = array[brain].astype(np.float32)
    if inside.size < 3 or np.unique(inside).size < 3:
        return None
    # The filter takes no mask, so it is shown the brain's voxels alone, in a row.
    row = sitk.GetImageFromArray(inside[None, None])
    classes = sitk.GetArrayFromImage(sitk.OtsuMultipleThresholds(row, 2))[0, 0]
    white = np.zeros(array.shape, np.float32)
    white[brain] = classes == 2
    return array_to_image(white)
