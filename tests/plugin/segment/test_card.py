from __future__ import annotations

from dataclasses import replace

from napari_wsss.models.bundle import Bundle
from napari_wsss.plugin.segment.card import bundle_card


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
