"""The scores of a bundle in words: what its card and ``wsss-tile models show`` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["scores_text"]

# The scores that a reader of the card knows, in the order shown.
_KNOWN = {"miou": "mean IoU", "fwiou": "FwIoU", "accuracy": "accuracy", "pixel_accuracy": "equal pixels"}
_MOST = 2


def scores_text(metrics: Mapping[str, Any]) -> str:
    """Return the scores that matter, one line per data set: ``val: mean IoU 0.88, FwIoU 0.90``.

    Of results with and without the gate, those with it are shown: that is how the model runs by default.

    Parameters
    ----------
    metrics : mapping
        As in ``model.json``: data set -> scores, or data set -> ``gate_on`` -> scores.
    """
    lines = []
    for name, scores in _data_sets("", metrics):
        found = [(text, scores[key]) for key, text in _KNOWN.items() if _is_score(scores.get(key))]
        if found:
            line = ", ".join(f"{text} {value:.2f}" for text, value in found[:_MOST])
            lines.append(f"{name}: {line}" if name else line)
    return "\n".join(lines)


def _data_sets(path: str, value: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Flatten nested scores into (data set, scores by lower-case name)."""
    if "gate_on" in value and isinstance(value["gate_on"], Mapping):
        return _data_sets(path, value["gate_on"])
    own = {key.lower(): inner for key, inner in value.items() if not isinstance(inner, Mapping)}
    found = [(path, own)] if own else []
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found += _data_sets(f"{path} {key}".strip().replace("_", " "), inner)
    return found


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
