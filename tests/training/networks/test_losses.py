from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from training.networks.losses import masked_loss, noise_weights, presence_loss, reference_loss

torch.manual_seed(0)
LOGITS = torch.randn(2, 3, 5, 5)
TARGETS = [torch.randint(0, 4, (2, 5, 5)) for _ in range(3)]


def test_presence_loss_is_the_mean_of_binary_cross_entropies() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    logits = torch.randn(2, 3)
    expected = F.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(presence_loss(logits, labels), expected)


def test_reference_loss_has_a_phantom_class() -> None:
    """On tissue of the deepest target a zero logit sits in the softmax; on its background nothing is learnt."""
    logits = LOGITS.clone().requires_grad_()
    target = torch.zeros(2, 5, 5, dtype=torch.long)
    target[:, 0] = 3
    loss, _ = reference_loss(logits, [target], (1.0,))
    loss.backward()
    assert logits.grad is not None
    assert float(logits.grad[:, :, 0].abs().max()) < 1e-30
    exponentials = logits.detach().exp()
    tissue = -(exponentials[:, 0] / (1 + exponentials.sum(1))).log()[:, 1:]
    torch.testing.assert_close(loss.detach(), tissue.sum() / target.numel() / 2)


def test_masked_loss_is_cross_entropy_over_the_tissue() -> None:
    total, terms = masked_loss(LOGITS, TARGETS, (0.6, 0.2, 0.2))
    expected = [F.cross_entropy(LOGITS, t, ignore_index=3) for t in TARGETS]
    torch.testing.assert_close(list(terms), expected)
    torch.testing.assert_close(total, 0.6 * terms[0] + 0.2 * terms[1] + 0.2 * terms[2])


@pytest.mark.parametrize("kind", ["ce", "focal"])
def test_masked_loss_with_nothing_to_learn(kind: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss, _ = masked_loss(logits, [torch.full((2, 5, 5), 3, dtype=torch.uint8)], (1.0,), kind)  # type: ignore[arg-type]
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_focal_loss_is_smaller_where_the_network_is_sure() -> None:
    target = [LOGITS.argmax(1)]
    ce, focal = masked_loss(LOGITS, target, (1.0,))[0], masked_loss(LOGITS, target, (1.0,), "focal")[0]
    assert float(focal) < 0.5 * float(ce)


def test_noise_weights() -> None:
    target = torch.randint(0, 3, (3, 6, 6))
    target[0] = 1  # a single class: exact
    target[1, :2] = 3  # ignored
    logits = torch.randn(3, 3, 6, 6)
    weights = noise_weights(logits, target)
    assert torch.all(weights[0] == 1)
    assert torch.all(weights[1, :2] == 0)
    for i in (1, 2):
        valid = target[i] < 3
        torch.testing.assert_close(weights[i][valid].mean(), torch.tensor(1.0))
        loss = F.cross_entropy(logits[i : i + 1], torch.where(valid, target[i], 0)[None], reduction="none")[
            0
        ][valid]
        assert torch.equal(weights[i][valid].argsort(), (-loss).argsort())
    assert not noise_weights(logits, torch.full((3, 6, 6), 3)).any()
