"""M14: a compiled forward and backward gives what the eager one gives, with nothing moved and nothing compiled again.

The branch between refresh and reuse lies outside of what is compiled, so both passes of a refresh and the pass of a
reuse run the same code on the same memory. CUDA graphs, which need the fixed addresses, want a GPU and are not run.
"""

from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch
import torch._inductor.config

from tests.unit.trainer.oracles.network import Network, batch, joined, size
from tests.unit.trainer.oracles.trained import method_of, network_loss, trained
from trainer.contract.optimizers import LAMB, SGD, AdamW
from trainer.optimizer import GuardedOptimizer

NETWORK = Network()
LOOKSAM = {"name": "looksam", "rho": 0.1, "k": 3}
METHODS = [
    {"name": "sam", "rho": 0.1},
    LOOKSAM,
    {**LOOKSAM, "scope": "per_tensor", "perturbation": "per_microbatch"},
    {"name": "look_layersam", "rho": 0.1, "k": 3},
]
WARM_UP = 4
"""Steps: with k = 3 two refreshes and both reuses."""


def words(document) -> str:
    return "-".join(str(value) for value in document.values())


@pytest.mark.parametrize("document", METHODS, ids=words)
@pytest.mark.parametrize(
    "optimizer",
    [SGD(name="sgd", lr=0.05), AdamW(name="adamw", lr=0.01), LAMB(name="lamb", lr=0.01)],
    ids=lambda o: o.name,
)
def test_m14_nothing_moves_in_memory(objective, document, optimizer):
    """Weights, gradients, the stored direction and the optimizer's state keep their addresses from step to step."""
    current = 0

    def loss(weights):
        return network_loss(NETWORK, weights, *map(torch.from_numpy, batch(current)))

    problem = objective([torch.from_numpy(w) for w in NETWORK.start()], loss)
    for weight, gradient in zip(problem.weights, problem.gradients, strict=True):
        weight.grad = gradient
    guarded, step = GuardedOptimizer(optimizer, problem.weights), problem.step_of(method_of(document))

    def addresses() -> list[int]:
        moments = [value for state in guarded.base.state.values() for value in state.values()]
        tensors = [*problem.weights, *problem.gradients, *(problem.state.direction or []), *moments]
        return [tensor.data_ptr() for tensor in tensors if isinstance(tensor, torch.Tensor)]

    seen = []
    for current in range(3 * WARM_UP):
        guarded.step(step(current, problem).finite)
        seen.append(addresses())
    assert len(seen[-1]) >= 2 * len(problem.weights)
    assert all(each == seen[-1] for each in seen[WARM_UP - 1 :])


@pytest.fixture
def compiling(tmp_path, monkeypatch):
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler (g++ or clang++) on the path, and there is none")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    with torch._inductor.config.patch(compile_threads=1):  # in this process, so that none is left behind
        yield torch._dynamo.utils.counters
    torch._dynamo.reset()


def test_m14_compiled_is_eager_without_recompiles(objective, compiling):
    """One compilation serves all methods: it knows the loss alone."""
    eager = partial(network_loss, NETWORK)
    compiled = torch.compile(eager, fullgraph=True)
    graphs = []

    def watched(weights, x, labels):
        found = compiled(weights, x, labels)
        graphs.append(compiling["stats"]["unique_graphs"])
        return found

    def two_batches(t: int):
        return [batch(t, m) for m in range(2)]

    for document in METHODS:
        theirs = trained(objective, document, NETWORK.start(), two_batches, 3 * WARM_UP)
        ours = trained(objective, document, NETWORK.start(), two_batches, 3 * WARM_UP, loss=watched)
        for a, b in zip(ours, theirs, strict=True):
            # Fused kernels sum 16 images in another order, and their tanh and exp may differ by a few ulps.
            assert size(joined(a.weights) - joined(b.weights)) <= 1e-12 * size(joined(b.weights))
            assert a.evaluations == b.evaluations
    assert graphs[0] == 1, "it was compiled"
    assert graphs[-1] == 1, "and once: neither a perturbed pass nor another method compiles again"
