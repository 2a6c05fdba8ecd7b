"""The colours of our own classes differ for everybody, also laid over a slide as the viewer does."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_wsss.models import load_bundle
from tiling.classes import ClassSchema
from tiling.synthetic import SYNTHETIC_SCHEMA
from training.crc_demo import CRC_SCHEMA

OPACITY = 0.45
LEAST = 10.0
# Glass, stroma pale and strong, muscle, epithelium, crowded nuclei.
TISSUE = np.array(
    [
        [240, 235, 240],
        [230, 180, 205],
        [215, 150, 180],
        [200, 130, 175],
        [130, 90, 160],
        [90, 60, 120],
    ]
)
# Machado, Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113), severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def seen(rgb: NDArray[np.float64], sight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB 0 … 1 as somebody with this sight sees it."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ sight.T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def least_difference(schema: ClassSchema, sight: NDArray[np.float64]) -> tuple[float, tuple[str, str]]:
    colours = np.array([[int(c.color[i : i + 2], 16) for i in (1, 3, 5)] for c in schema.classes]) / 255
    over = OPACITY * colours[None] + (1 - OPACITY) * TISSUE[:, None] / 255
    lab = rgb2lab(seen(over, sight))
    pairs = list(combinations(range(len(colours)), 2))
    found = [float(deltaE_ciede2000(lab[:, a], lab[:, b]).min()) for a, b in pairs]
    worst = int(np.argmin(found))
    a, b = pairs[worst]
    return found[worst], (schema.classes[a].name, schema.classes[b].name)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("schema", [CRC_SCHEMA, SYNTHETIC_SCHEMA], ids=lambda s: s.name)
def test_any_two_classes_can_be_told_apart(schema: ClassSchema, sight: str) -> None:
    difference, pair = least_difference(schema, SIGHT[sight])
    assert difference >= LEAST, pair


def test_red_and_green_of_equal_lightness_would_not_pass() -> None:
    schema = ClassSchema.from_dict(
        {
            **SYNTHETIC_SCHEMA.to_dict(),
            "classes": [
                {"name": "a", "abbreviation": "A", "color": "#d62728"},
                {"name": "b", "abbreviation": "B", "color": "#6b7a00"},
            ],
        }
    )
    assert least_difference(schema, SIGHT["normal"])[0] >= LEAST
    assert least_difference(schema, SIGHT["deutan"])[0] < LEAST


@pytest.mark.parametrize(("name", "schema"), [("crc-demo", CRC_SCHEMA), ("synthetic-demo", SYNTHETIC_SCHEMA)])
def test_the_embedded_bundles_have_these_colours(name: str, schema: ClassSchema) -> None:
    assert load_bundle(name, verify=False).schema == schema
