"""The direction's cosine by parts of the network: which tensor is where, and what the parts' numbers are."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from trainer import looksam
from trainer.contract.methods import LookSAM
from trainer.layer_groups import layer_groups, masks_of
from trainer.looksam import Overlap

CPU = torch.device("cpu")


def by_name(model: nn.Module) -> dict[str, str | None]:
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    return dict(zip(names, layer_groups(model), strict=True))


def a_vit(depth: int) -> nn.Module:
    arguments = {"patch_size": 16, "img_size": 32, "embed_dim": 16, "num_heads": 2}
    return timm.create_model("vit_tiny_patch16_224", depth=depth, **arguments)


class TestGroups:
    def test_of_a_vision_transformer(self):
        groups = by_name(a_vit(6))
        assert groups["patch_embed.proj.weight"] == groups["pos_embed"] == groups["cls_token"] == "stem"
        blocks = ["early", "early", "middle", "middle", "late", "late"]
        assert [groups[f"blocks.{number}.attn.qkv.weight"] for number in range(6)] == blocks
        assert groups["head.weight"] == "head"

    @pytest.mark.parametrize(
        ("depth", "blocks"),
        [(1, ["middle"]), (2, ["early", "late"]), (4, ["early", "middle", "middle", "late"])],
    )
    def test_few_blocks_fill_few_groups(self, depth, blocks):
        groups = by_name(a_vit(depth))
        assert [groups[f"blocks.{number}.attn.qkv.weight"] for number in range(depth)] == blocks

    @pytest.mark.parametrize(
        "name", ["test_resnet", "test_convnext", "test_efficientnet", "swin_tiny_patch4_window7_224"]
    )
    def test_of_other_families_each_tensor_has_one_and_none_goes_back(self, name):
        model = timm.create_model(name)
        order = ["stem", "early", "middle", "late", "head"]
        assert set(layer_groups(model)) == set(order)

    def test_frozen_tensors_are_passed_over(self):
        model = a_vit(3)
        model.patch_embed.proj.weight.requires_grad_(False)
        assert len(layer_groups(model)) == len(list(model.parameters())) - 1
        assert "patch_embed.proj.weight" not in by_name(model)

    def test_a_network_that_knows_no_order_has_none(self):
        groups = layer_groups(nn.Linear(2, 2))
        assert groups == [None, None]
        assert masks_of(groups, CPU) == {}


class TestCosines:
    def test_are_those_of_the_parts_alone(self):
        generator = torch.Generator().manual_seed(0)
        now, before = ([torch.randn(n, dtype=torch.float64, generator=generator) for n in (3, 4, 5)] for _ in range(2))
        overlap = Overlap(
            products=looksam.inners(now, before), norms=looksam.norms(now), norms_before=looksam.norms(before),
            exist=torch.tensor(True),
        )  # fmt: skip
        members = torch.tensor([True, False, True])
        a, b = (torch.cat([tensors[0], tensors[2]]) for tensors in (now, before))
        # A few operations on numbers near 1 in float64: some 1e-16 each.
        assert overlap.cosine_of(members).item() == pytest.approx((a @ b / (a.norm() * b.norm())).item(), abs=1e-13)
        assert torch.equal(overlap.cosine_of(torch.ones(3, dtype=torch.bool)), overlap.cosine())
        each = [(x @ y / (x.norm() * y.norm())).item() for x, y in zip(now, before, strict=True)]
        mean = overlap.cosine_of(members, "per_tensor").item()
        assert mean == pytest.approx((each[0] + each[2]) / 2, abs=1e-13)

    def test_of_a_part_that_has_no_direction_there_is_none(self):
        overlap = Overlap(
            products=torch.tensor([1.0, 0.0]), norms=torch.tensor([1.0, 0.0]), norms_before=torch.tensor([1.0, 1.0]),
            exist=torch.tensor(True),
        )  # fmt: skip
        assert overlap.cosine_of(torch.tensor([False, True])).isnan()
        assert overlap.cosine_of(torch.tensor([True, False])) == 1.0

    def test_need_no_further_pass_and_no_further_inner_product(self, random_quadratic, monkeypatch):
        problem, _ = random_quadratic(sizes=(1, 2, 3))
        problem.tensors.layer_groups = masks_of(["stem", "early", "early"], CPU)
        step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=1))
        step(0, problem)
        inners, calls = looksam.inners, []
        monkeypatch.setattr(looksam, "inners", lambda a, *rest: calls.append(len(a)) or inners(a, *rest))
        evaluations = problem.evaluations
        signals = step(1, problem).signals  # at the same point, so the direction is the one before
        assert problem.evaluations - evaluations == 2
        assert calls == [3, 3]  # of the split, and of the direction with the one before
        for name in ("direction_cosine", "direction_cosine/early"):
            assert signals[name].item() == pytest.approx(1.0, abs=1e-13)  # as above
        assert {name for name in signals if "/" in name} == {"direction_cosine/stem", "direction_cosine/early"}

    @pytest.mark.parametrize("scope", ["global", "per_tensor"])
    def test_a_run_tells_them_where_it_tells_the_whole(self, run, small_spec, scope):
        method = {"name": "looksam", "k": 2, "rho": 0.1, "scope": scope}
        points = run(small_spec(method=method, logging={"every_steps": 4})).recorder.points
        whole = [step for step, values in points.items() if "direction_cosine" in values]
        assert whole
        for part in ("stem", "middle", "head"):
            assert [step for step, values in points.items() if f"direction_cosine/{part}" in values] == whole
            assert all(-1 <= points[step][f"direction_cosine/{part}"] <= 1 for step in whole)
