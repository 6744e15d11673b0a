"""`alpha="auto"` against an independent reference: a small MLP with analytic gradients in plain NumPy, float64.

The reference shares nothing with the trainer: it keeps one flat vector, writes the back-propagation by hand, stores g_v
itself instead of its direction, and follows `w <- w - lr*(momentum buffer)` by hand.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.contract.methods import LookSAM
from trainer.contract.optimizers import SGD
from trainer.optimizer import GuardedOptimizer

INPUTS, HIDDEN, CLASSES, BATCH, STEPS, K = 5, 7, 4, 16, 40, 5
LR, MOMENTUM = 0.05, 0.9
SIZES = [INPUTS * HIDDEN, HIDDEN, HIDDEN * CLASSES, CLASSES]


def batch(step: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Batches that share most of their signal, so that directions persist, or little of it."""
    rng = np.random.default_rng(step)
    labels = rng.integers(0, CLASSES, BATCH)
    centres = np.random.default_rng(1234).normal(size=(CLASSES, INPUTS))
    return centres[labels] + noise * rng.normal(size=(BATCH, INPUTS)), labels


def start() -> np.ndarray:
    return 0.5 * np.random.default_rng(99).normal(size=sum(SIZES))


def loss_and_gradient(w: np.ndarray, x: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Softmax cross-entropy of tanh(x W1 + b1) W2 + b2, and its gradient, by the chain rule."""
    w1, b1, w2, b2 = np.split(w, np.cumsum(SIZES)[:-1])
    w1, w2 = w1.reshape(INPUTS, HIDDEN), w2.reshape(HIDDEN, CLASSES)
    hidden = np.tanh(x @ w1 + b1)
    scores = hidden @ w2 + b2
    scores = scores - scores.max(axis=1, keepdims=True)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(p[rows, labels]).mean()
    error = p.copy()
    error[rows, labels] -= 1
    error /= len(x)
    back = (error @ w2.T) * (1 - hidden**2)
    parts = [x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
    return loss, np.concatenate([part.ravel() for part in parts])


def reference(noise: float, rho: float) -> list[dict[str, np.ndarray | float]]:
    """Weights after each step, with alpha and c in use."""
    w, velocity = start(), np.zeros(sum(SIZES))
    g_v, alpha, c, rows = None, 0.0, 0.0, []
    for t in range(STEPS):
        x, labels = batch(t, noise)
        _, g = loss_and_gradient(w, x, labels)
        if t % K == 0:
            _, g_s = loss_and_gradient(w + rho * g / np.linalg.norm(g), x, labels)
            new = g_s - (g @ g_s) / (g @ g) * g
            if g_v is not None:
                cosine = (new @ g_v) / (np.linalg.norm(new) * np.linalg.norm(g_v))
                c = 0.8 * c + 0.2 * max(0.0, cosine)
            g_v = new
            alpha = min(1.0, np.linalg.norm(g_v) / np.linalg.norm(g)) * c
            d = g_s
        else:
            d = g + alpha * np.linalg.norm(g) / np.linalg.norm(g_v) * g_v
        velocity = MOMENTUM * velocity + d
        w = w - LR * velocity
        rows.append({"w": w, "alpha": alpha, "c": c, "ratio": np.linalg.norm(g_v) / np.linalg.norm(g)})
    return rows


def trained(objective, noise: float, rho: float) -> list[dict[str, np.ndarray | float]]:
    """The same with the trainer's step and optimizer, and gradients by autograd."""
    w1, b1, w2, b2 = torch.from_numpy(start()).split(SIZES)
    current: list[tuple[np.ndarray, np.ndarray]] = [batch(0, noise)]

    def loss(weights):
        x, labels = map(torch.from_numpy, current[0])
        scores = (x @ weights[0] + weights[1]).tanh() @ weights[2] + weights[3]
        return torch.nn.functional.cross_entropy(scores, labels)

    problem = objective([w1.reshape(INPUTS, HIDDEN), b1, w2.reshape(HIDDEN, CLASSES), b2], loss)
    for weight, gradient in zip(problem.weights, problem.gradients, strict=True):
        weight.grad = gradient
    optimizer = GuardedOptimizer(SGD(name="sgd", lr=LR, momentum=MOMENTUM), problem.weights)
    step = problem.step_of(LookSAM(name="looksam", rho=rho, k=K))
    rows = []
    for t in range(STEPS):
        current[0] = batch(t, noise)
        optimizer.step(step(t, problem).finite)
        state = problem.state
        rows.append({
            "w": problem.weight_vector().numpy(), "alpha": state.alpha.item(), "c": state.persistence.item(),
        })  # fmt: skip
    return rows


@pytest.mark.parametrize(
    ("noise", "rho", "ratio_exceeds_one"),
    [
        pytest.param(0.1, 0.1, False, id="directions persist"),
        pytest.param(2.0, 0.1, False, id="noisy batches"),
        pytest.param(0.1, 3.0, True, id="large rho"),  # ||g_v|| > ||g||: the min(1, ...) of the rule decides
    ],
)
def test_forty_steps_agree(objective, noise, rho, ratio_exceeds_one):
    ours, expected = trained(objective, noise, rho), reference(noise, rho)
    assert any(row["ratio"] > 1 and row["alpha"] > 0 for row in expected) == ratio_exceeds_one
    for t, (mine, theirs) in enumerate(zip(ours, expected, strict=True)):
        # The bar that was set for it. Found: 6e-16 for the weights, 9e-15 for alpha and c.
        assert np.linalg.norm(mine["w"] - theirs["w"]) <= 1e-10 * np.linalg.norm(theirs["w"]), f"step {t}"
        assert mine["alpha"] == pytest.approx(theirs["alpha"], rel=1e-10, abs=0)
        assert mine["c"] == pytest.approx(theirs["c"], rel=1e-10, abs=0)
    assert all(row["alpha"] == 0 for row in ours[:K]), "alpha is 0 until the second refresh"
    assert ours[-1]["alpha"] > 0, "and reuse was really exercised"


def test_the_reference_gradient_is_the_derivative():
    w, (x, labels) = start(), batch(0, 1.0)
    _, gradient = loss_and_gradient(w, x, labels)
    direction = np.random.default_rng(5).normal(size=w.shape)
    h = 1e-6  # central difference: error about h^2 = 1e-12 plus 1e-16/h = 1e-10
    up, _ = loss_and_gradient(w + h * direction, x, labels)
    down, _ = loss_and_gradient(w - h * direction, x, labels)
    assert (up - down) / (2 * h) == pytest.approx(gradient @ direction, rel=1e-7)
