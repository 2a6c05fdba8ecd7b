from __future__ import annotations

from dataclasses import replace

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.card import bundle_card, metrics_text


def test_the_card_says_what_matters(toy_bundle: Bundle) -> None:
    card = bundle_card(toy_bundle)
    for text in (
        "Tumour",
        "Necrosis",
        "64 px at 1 µm/px",
        "efficientnet-lite0",
        "BSD-3-Clause",
        "mean IoU 0.50",
    ):
        assert text in card


def test_what_a_bundle_says_is_text_and_not_html(toy_bundle: Bundle) -> None:
    assert "<script>" not in bundle_card(replace(toy_bundle, description="<script>alert(1)</script>"))


def test_without_a_bundle() -> None:
    assert "no such folder" in bundle_card(None, "no such folder")
    assert "No model" in bundle_card(None)


def test_scores_with_the_gate_are_shown_and_only_those_that_people_know() -> None:
    scores = {
        "val": {
            "gate_off": {"miou": 0.1},
            "gate_on": {"miou": 0.881, "fwiou": 0.904, "iou": [1], "pixels": 5},
        },
        "sample_slide": {"miou": 0.8916, "seed": 11},
    }
    assert metrics_text(scores) == "val: mean IoU 0.88, FwIoU 0.90\nsample slide: mean IoU 0.89"
    assert metrics_text({"mIoU": 0.5, "accuracy": True}) == "mean IoU 0.50"
    assert metrics_text({}) == ""
