from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from napari_wsss.models import apply_gate, open_classes


def test_closed_classes_are_exactly_zero_after_softmax() -> None:
    logits = torch.tensor([-3.0, -1.0, -2.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    gated = apply_gate(logits, torch.tensor([[0.9, 0.1, 0.2]]), 0.1)
    assert gated.softmax(1)[0, :, 0, 0].tolist()[1] == 0.0
    assert (gated.argmax(1) == 2).all()
    assert (logits == torch.tensor([-3.0, -1.0, -2.0]).reshape(1, 3, 1, 1)).all(), (
        "the input must stay as it was"
    )


def test_a_probability_equal_to_the_threshold_does_not_pass() -> None:
    assert open_classes(torch.tensor([[0.5, 0.50001]]), 0.5).tolist() == [[False, True]]


def test_the_top_class_stays_when_none_passes() -> None:
    gated = apply_gate(torch.zeros(1, 3, 1, 1), torch.tensor([[0.01, 0.05, 0.02]]), 0.1)
    assert gated.flatten().tolist() == [float("-inf"), 0.0, float("-inf")]


def test_the_reference_gate_lets_a_closed_class_win() -> None:
    logits = torch.tensor([-1.0, -2.0]).reshape(1, 2, 1, 1)
    gated = apply_gate(logits, torch.tensor([[0.9, 0.05]]), 0.1, mode="reference")
    assert gated.flatten().tolist() == [-1.0, 0.0]
    assert gated.argmax(1).item() == 1


def test_thresholds_per_class() -> None:
    probabilities = torch.tensor([[0.3, 0.3, 0.3], [0.1, 0.1, 0.1]])
    expected = [[True, False, True], [True, False, False]]
    assert open_classes(probabilities, (0.05, 0.5, 0.2)).tolist() == expected


def test_disagreeing_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must agree"):
        apply_gate(torch.zeros(2, 3, 1, 1), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="threshold"):
        apply_gate(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3), (0.1, 0.2))
    with pytest.raises(ValueError, match="unknown gate mode"):
        apply_gate(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3), mode="soft")  # type: ignore[arg-type]


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=3),
    st.floats(0, 0.99),
)
def test_the_gated_softmax_is_a_distribution_over_open_classes(
    rows: list[list[float]], threshold: float
) -> None:
    probabilities = torch.tensor(rows)
    logits = torch.linspace(-5, 5, len(rows) * 4).reshape(len(rows), 4, 1, 1)
    passed = open_classes(probabilities, threshold)
    shares = apply_gate(logits, probabilities, threshold).softmax(1)[:, :, 0, 0]
    assert passed.any(1).all()
    assert torch.allclose(shares.sum(1), torch.ones(len(rows)))
    assert ((shares > 0) == passed).all()
