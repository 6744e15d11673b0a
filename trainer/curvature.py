"""How curved the loss is where training ended: the largest eigenvalue of its Hessian H, and the trace of H.

    lambda_max   by Lanczos with full re-orthogonalisation, until the residual of its eigenvector is small
    trace H      by Hutchinson's estimator: the mean of v'Hv over vectors v of random signs

The loss is the mean cross-entropy of the first images of the training set, without augmentation, in evaluation mode and
in the precision of the weights. H is never formed: Hv is the gradient of <grad L, v>. A Hessian-vector product costs
about two gradients of those images, and Lanczos keeps a copy of the weights' size for each of its products, in the
memory of the CPU.

A flat minimum has a small lambda_max; full-batch gradient descent is stable only below 2/lr. The trace is the same for
all directions alike. Nothing of the training is changed: no weight is moved, no draw of its streams is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from trainer import randomness
from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import ImageSet, share
from trainer.model import keep_buffers_of_first
from trainer.parallel import World

MOST_PRODUCTS = 40
"""Of Lanczos. Trained networks have few large eigenvalues far apart, which are found long before."""
RELATIVE_RESIDUAL = 1e-3
"""|Hx - lambda x| / |lambda| at which the eigenvalue is taken; its own error is about the square of it."""
SIGN_VECTORS = 16
"""Of Hutchinson; the standard error of the trace is at most sqrt(2/16) ||H||_F."""

Product = Callable[[Tensor], Tensor]
"""v -> Hv, both flat and on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Eigenvalue:
    """The largest, how sure it is, and what it took."""

    value: float
    residual: float
    """|Hx - value x| for the unit vector x that belongs to it: an eigenvalue of H lies within it."""
    products: int


def measure(
    model: nn.Module, weights: Sequence[Tensor], images: ImageSet, spec: TrainingSpec, world: World
) -> dict[str, float]:
    """`hessian_top_eigenvalue` and `hessian_trace` over all trainable weights, the same on all ranks.

    Of `weights` those that require no gradient are left out: frozen ones, and those that no pass has reached.
    `spec.evaluation.curvature_images` must be set; where the training set has fewer, all are taken. Shared out over the
    ranks, in passes of `spec.pass_size` images.
    """
    assert spec.evaluation.curvature_images is not None
    weights = [weight for weight in weights if weight.requires_grad]
    keep_buffers_of_first(model, world)
    model.eval()
    try:
        # The fused attention kernels cannot be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            product = _hessian_of(model, weights, images, spec, world)
            size, dtype = sum(weight.numel() for weight in weights), weights[0].dtype
            start = torch.randn(size, generator=_generator(spec, "lanczos"), dtype=dtype)
            top = largest_eigenvalue(product, start)
            trace = hutchinson_trace(product, size, SIGN_VECTORS, _generator(spec, "hutchinson"), dtype)
    finally:
        model.train()
    return {"hessian_top_eigenvalue": top.value, "hessian_trace": trace}


def largest_eigenvalue(
    product: Product, start: Tensor, *, most_products: int = MOST_PRODUCTS, tolerance: float = RELATIVE_RESIDUAL
) -> Eigenvalue:
    """The algebraically largest eigenvalue of a symmetric matrix, by Lanczos from `start` (flat, not zero).

    Ends at a relative residual of `tolerance`, after `most_products` or `len(start)` products, or where the space of
    `start` is exhausted: then the value is exact for what `start` reaches.
    """
    most = min(most_products, start.numel())
    basis = torch.empty(most, start.numel(), dtype=start.dtype)
    basis[0] = start / torch.linalg.vector_norm(start)
    diagonal: list[float] = []
    beside: list[float] = []
    value = residual = 0.0
    for j in range(most):
        image = product(basis[j])
        diagonal.append(float(torch.dot(basis[j], image)))
        for _ in range(2):  # once leaves what rounding lost in the first subtraction ("twice is enough", Kahan)
            image = image - basis[: j + 1].T @ (basis[: j + 1] @ image)
        length = float(torch.linalg.vector_norm(image))
        value, last = _largest_of(diagonal, beside)
        residual = length * abs(last)
        exhausted = length <= torch.finfo(start.dtype).eps * max(map(abs, diagonal))
        if residual <= tolerance * abs(value) or exhausted or j + 1 == most:
            break
        beside.append(length)
        basis[j + 1] = image / length
    return Eigenvalue(value=value, residual=residual, products=len(diagonal))


def hutchinson_trace(
    product: Product, size: int, samples: int, generator: torch.Generator, dtype: torch.dtype
) -> float:  # fmt: skip
    """Mean of v'Hv over `samples` vectors of signs: without bias, exact for a diagonal matrix."""
    found = []
    for _ in range(samples):
        signs = torch.randint(0, 2, (size,), generator=generator).to(dtype).mul_(2).sub_(1)
        found.append(float(torch.dot(signs.double(), product(signs).double())))
    return math.fsum(found) / samples


def _largest_of(diagonal: Sequence[float], beside: Sequence[float]) -> tuple[float, float]:
    """Of the tridiagonal matrix: its largest eigenvalue, and the last entry of the unit vector that belongs to it."""
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if beside:
        off = torch.tensor(beside, dtype=torch.float64)
        matrix += torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(matrix)
    return float(values[-1]), float(vectors[-1, -1])


def _hessian_of(
    model: nn.Module, weights: Sequence[Tensor], images: ImageSet, spec: TrainingSpec, world: World
) -> Product:
    wanted = min(spec.evaluation.curvature_images or 0, len(images))
    # Passes of neighbouring images, dealt out to the ranks: so the images are the same on any number of ranks.
    passes = -(-len(images) // spec.pass_size)
    starts = [int(share(len(images), number, passes)[0]) for number in range(passes)]
    mine = [number for number in range(world.rank, passes, world.size) if starts[number] < wanted]
    shapes = [weight.shape for weight in weights]
    sizes = [weight.numel() for weight in weights]

    def product(vector: Tensor) -> Tensor:
        on_device = vector.to(world.device)
        pieces = [piece.view(shape) for piece, shape in zip(torch.split(on_device, sizes), shapes, strict=True)]
        total = torch.zeros_like(on_device)
        for number in mine:
            [(pixels, labels)] = images.share_of(number, passes, spec.pass_size)
            count = wanted - starts[number]  # the last pass may reach beyond
            loss = cross_entropy(model(pixels[:count]), labels[:count], reduction="sum") / wanted
            gradients = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
            along = torch.stack([(g * v).sum() for g, v in zip(gradients, pieces, strict=True)]).sum()
            if not along.requires_grad:
                continue  # no weight reaches the loss
            second = torch.autograd.grad(along, weights, materialize_grads=True)
            total += torch.cat([part.reshape(-1) for part in second])
            world.passed()
        return world.sum_(total).cpu()

    return product


def _generator(spec: TrainingSpec, use: str) -> torch.Generator:
    return torch.Generator().manual_seed(randomness.key(use, spec.seed))
