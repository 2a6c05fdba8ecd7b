from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from napari_wsss.plugin.view.frame import matrix, raster_frame, slide_frame

sizes = st.floats(0.05, 5)
steps = st.floats(0.2, 64)
places = st.floats(-1e5, 1e5)


@given(sizes, places, places, steps, steps, st.integers(0, 1000))
def test_corners_lie_on_corners(mpp: float, x: float, y: float, step_x: float, step_y: float, i: int) -> None:
    slide, raster = matrix(slide_frame(mpp)), matrix(raster_frame(mpp, (x, y), (step_x, step_y)))
    # The corner of a pixel is half a pixel before its centre, in both frames.
    corner = raster @ [i - 0.5, i - 0.5, 1]
    same = slide @ [y + i * step_y - 0.5, x + i * step_x - 0.5, 1]
    np.testing.assert_allclose(corner, same, rtol=1e-9, atol=1e-6 * mpp)


def test_a_raster_of_the_slides_own_pixels_is_the_slide() -> None:
    assert raster_frame(0.25, (0, 0), 1) == slide_frame(0.25)


def test_without_mpp_the_unit_is_the_pixel() -> None:
    frame = raster_frame(None, (10, 20), 4)
    assert frame.unit == "pixel"
    assert frame.scale == (4, 4)
    assert frame.translate == pytest.approx((21.5, 11.5))
    assert frame.layer_arguments()["units"] == ("pixel", "pixel")
