from __future__ import annotations

from napari_wsss.models.scores import scores_text


def test_scores_with_the_gate_are_shown_and_only_those_that_people_know() -> None:
    scores = {
        "val": {
            "gate_off": {"miou": 0.1},
            "gate_on": {"miou": 0.881, "fwiou": 0.904, "iou": [1], "pixels": 5},
        },
        "sample_slide": {"miou": 0.8916, "seed": 11},
    }
    assert scores_text(scores) == "val: mean IoU 0.88, FwIoU 0.90\nsample slide: mean IoU 0.89"
    assert scores_text({"mIoU": 0.5, "accuracy": True}) == "mean IoU 0.50"
    assert scores_text({}) == ""
