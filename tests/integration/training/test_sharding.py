"""M8: FSDP2 is plain data parallelism is one process; what is gathered is what nobody shared out. Two gloo ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from trainer.contract.metrics import DETERMINISTIC
from trainer.contract.spec import stored_spec
from trainer.export import export, preparation_of
from trainer.stored_weights import network_of, random_images

K = 5
LOOKSAM: dict[str, Any] = {"name": "looksam", "rho": 0.1, "k": K}
ADAMW: dict[str, Any] = {"name": "adamw", "lr": 0.003}
COMMON: dict[str, Any] = {
    # Of the weights, the tokens' positions have one row, which one rank keeps: parts of all sizes, and empty ones.
    "model": {
        "name": "vit_tiny_patch16_224",
        "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "proj_drop_rate": 0.2},
    },
    # 21 images to validate, at most 10 a pass, and 65 to train, 16 a pass: one rank needs a pass more in each.
    "data": {"train_size": 65, "validation_fraction": 0.0117},
    "evaluation": {"batch_size": 10}, "steps": 12, "precision": "fp64",
}  # fmt: skip


def on_two(small_spec, sharding: str, **changes: Any) -> dict[str, Any]:
    execution = {"sharding": sharding, **changes.pop("execution", {})}
    spec = small_spec(**{**COMMON, **changes}, execution=execution, resources={"workers": 2})
    return spec.model_dump(mode="json")


def saved_at(folder: Path, step: int = COMMON["steps"]) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def state_of(folder: Path, step: int = COMMON["steps"]) -> dict[str, Any]:
    return torch.load(saved_at(folder, step) / "state.pt", weights_only=True)


def tensors_of(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Weights, buffers, moments and the stored direction, by name."""
    moments = {
        f"optimizer.{number}.{name}": value
        for number, values in state["optimizer"]["state"].items()
        for name, value in values.items()
        if isinstance(value, torch.Tensor)
    }
    direction = {f"direction.{number}": value for number, value in enumerate(state["direction"] or [])}
    return {**state["model"], **moments, **direction}


def assert_same_bits(a: dict[str, Any], b: dict[str, Any]) -> None:
    one, other = tensors_of(a), tensors_of(b)
    assert one.keys() == other.keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []


def assert_close(a: dict[str, Any], b: dict[str, Any]) -> None:
    one, other = tensors_of(a), tensors_of(b)
    assert one.keys() == other.keys()
    for name, value in one.items():
        # As for two workers against one: only the order of float64 sums differs. Found: below 2e-14.
        torch.testing.assert_close(
            value, other[name], rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


def assert_same_points(points: dict[str, dict[str, float]], others: dict[Any, dict[str, float]]) -> None:
    for step, values in others.items():
        for name, value in values.items():
            if name in DETERMINISTIC:
                # The loss rise and the sharpness are small differences of two losses, which are near 2.3.
                assert points[str(step)][name] == pytest.approx(value, rel=1e-11, abs=1e-12), (step, name)


CASES: dict[str, dict[str, Any]] = {
    "base": {"method": {"name": "none"}, "clip_norm": 0.3, "optimizer": ADAMW},
    "base, layer decay": {
        "method": {"name": "none"},
        "optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.01, "layer_decay": 0.7},
    },
    "sam": {"method": {"name": "sam", "rho": 0.1, "k": 2}, "optimizer": ADAMW},
    "looksam": {"method": LOOKSAM, "optimizer": ADAMW},
    "looksam, accumulating": {"method": {**LOOKSAM, "alpha": 0.4}, "optimizer": ADAMW, "micro_batch_size": 8},
    "looksam, tensor by tensor": {"method": {**LOOKSAM, "scope": "per_tensor"}, "optimizer": ADAMW},
    "layersam": {
        "method": {"name": "layersam", "rho": 0.05, "layerwise": "literal", "one_dimensional": "excluded"},
        "optimizer": ADAMW,
    },
    "look_layersam": {"method": {"name": "look_layersam", "rho": 0.05, "k": K}, "optimizer": ADAMW},
    "look_layersam, asam_dual": {
        "method": {"name": "look_layersam", "rho": 0.05, "k": K, "layerwise": "asam_dual", "alpha": "fresh_ratio"},
        "optimizer": {"name": "sgd", "lr": 0.1},
    },
}  # fmt: skip


def test_m8_sharded_is_plain_data_parallel_is_one_process(two_ranks, run, small_spec):
    """Weights, moments, the gathered direction and every number, for each method."""
    common = {
        "model": {**COMMON["model"], "arguments": {**COMMON["model"]["arguments"], "proj_drop_rate": 0.0}},
        "evaluation": {**COMMON["evaluation"], "sharpness_radius": 0.05},
    }  # dropout's masks are keyed by the rank, so one process would see others
    items = [
        {"spec": on_two(small_spec, sharding, **{**common, **case})} for case in CASES.values()
        for sharding in ("full", "none")
    ]  # fmt: skip
    folder, (first, _) = two_ranks(items)
    for number, (name, case) in enumerate(CASES.items()):
        sharded, plain = 2 * number, 2 * number + 1
        assert first[sharded]["reason"] == "completed", (name, first[sharded])
        whole = run(small_spec(**{**COMMON, **common, **case}))
        one = state_of(whole.folder)
        assert (one["direction"] is not None) == name.startswith("look")
        assert_close(state_of(folder / str(sharded)), state_of(folder / str(plain)))
        assert_close(state_of(folder / str(sharded)), one)
        assert first[sharded]["evaluations"] == whole.outcome.gradient_evaluations
        assert {"sharpness", "validation_loss"} <= whole.deterministic_points[12].keys()
        assert first[sharded]["points"].keys() == first[plain]["points"].keys()
        assert_same_points(first[sharded]["points"], whole.deterministic_points)
        said = [text for code, text in first[sharded]["notices"] if code == "sam_doctor"]
        assert len(said) == (not name.startswith("base"))
        assert all("4 of 4 checks hold" in text for text in said)
        assert not [code for code, _ in first[sharded]["notices"] if "warns" in code]

    parts = [torch.load(folder / "0" / f"weights-{rank}.pt", weights_only=True) for rank in range(2)]
    elements = [sum(part.numel() for part in of_rank) for of_rank in parts]
    assert sum(elements) == sum(value.numel() for value in one["model"].values())
    assert max(elements) < 0.6 * sum(elements), "each keeps about a half"
    assert any(part.numel() == 0 for part in parts[1]), "and of some tensors nothing"
    # On the way the gradients are never summed whole; the largest sum is of one number for each tensor.
    assert max(first[0]["all_reduced"]) <= len(parts[0])


def test_m9_a_sharded_run_goes_on_bit_for_bit_and_with_another_sharding(two_ranks, run, small_spec, tmp_path):
    """M9 for shards, in each phase of k; and checkpoints are whole, so the sharding may change between two attempts."""
    sharded, plain = (on_two(small_spec, sharding, method=LOOKSAM) for sharding in ("full", "none"))
    items: list[dict[str, Any]] = [{"spec": sharded}, {"spec": plain}]
    rests: list[int] = []
    resume: list[str] = []
    for done in range(K, 2 * K):  # each of them goes on from the one before
        items.append({"spec": sharded, "resume": resume, "stop_at": K - 1 if done == K else 0})
        resume = [str(saved_at(tmp_path / "ranks" / str(len(items) - 1), done))]
        rests.append(len(items))
        items.append({"spec": sharded, "resume": resume})
    of_shards = items[rests[2]]["resume"]
    from_shards = len(items)
    items.append({"spec": plain, "resume": of_shards})
    items.append({"spec": plain, "stop_at": 7})
    from_whole = len(items)
    items.append({"spec": sharded, "resume": [str(saved_at(tmp_path / "ranks" / str(from_whole - 1), 8))]})
    folder, (first, _) = two_ranks(items)

    whole = state_of(folder / "0")
    assert [first[number - 1]["step"] for number in rests] == [*range(K, 2 * K)]
    for number in rests:
        assert_same_bits(state_of(folder / str(number)), whole)
    for number in (from_shards, from_whole):  # the direction is the same mathematically: no refresh is forced
        assert_close(state_of(folder / str(number)), whole)
        assert first[number]["evaluations"] == first[0]["evaluations"] == 12 + 3

    # One process goes on too: 7 steps with refreshes at 0 and 5, then 5 with the forced one at 7 and that at 10.
    alone = run(stored_spec({**sharded, "micro_batch_size": 16}), resume=[Path(path) for path in of_shards])
    assert (alone.outcome.step, alone.outcome.gradient_evaluations) == (12, 7 + 2 + 5 + 2)
    # And what is exported is the network that was trained.
    exported = export(folder / "0", tmp_path / "exported")
    saved = alone.saved()
    spec = stored_spec(saved.spec)
    network = network_of(type(saved)(**whole), spec, preparation_of(saved, spec))
    assert exported.facts.num_parameters == sum(value.numel() for value in whole["model"].values())
    assert network(random_images(preparation_of(saved, spec))).isfinite().all()


def test_m8_the_same_bits_as_without_sharding(two_ranks, run, small_spec):
    """Two ranks add two numbers, whose order does not matter: without norms of whole tensors every bit is the same."""
    # Not torch's fused ones: they round the last elements of a tensor, which do not fill a vector, otherwise.
    base = {"method": {"name": "none"}, "optimizer": {"name": "lion", "lr": 0.001, "weight_decay": 0.1}}
    source = run(small_spec(**{**COMMON, "steps": 1}, seed=1)).folder
    cases = {
        "fp32, fine-tuning": {
            "precision": "fp32", "model": {**COMMON["model"], "init_from": {"checkpoint": str(source)}},
        },
        "bf16, checkpointing": {"precision": "bf16", "execution": {"activation_checkpointing": True}},
        "fp16": {"precision": "fp16", "loss_scale": 2.0**24},
        "running statistics": {"model": {"name": "test_resnet"}, "steps": 4},
        "spares": {"spares": True, "checkpoint": {"every_steps": 1, "keep": 12}},
    }  # fmt: skip
    items = []
    for case in cases.values():
        beside = {name: case[name] for name in ("loss_scale", "spares") if name in case}
        fields = {name: value for name, value in {**base, **case}.items() if name not in beside}
        items += [{"spec": on_two(small_spec, sharding, **fields), **beside} for sharding in ("full", "none")]
    half = {"precision": "fp16", "method": {**LOOKSAM, "k": 2}, "optimizer": {"name": "sgd", "lr": 0.1}}
    items += [{"spec": on_two(small_spec, sharding, **half), "loss_scale": 2.0**24} for sharding in ("full", "none")]
    items += [{"spec": on_two(small_spec, "full", **base), "poison": 0}]
    folder, (first, second) = two_ranks(items)

    for number, (name, case) in enumerate(cases.items()):
        assert first[2 * number]["reason"] == "completed", (name, first[2 * number])
        sharded, plain = (state_of(folder / str(2 * number + i), case.get("steps", 12)) for i in range(2))
        assert_same_bits(sharded, plain)
        assert sharded["loss_scale"] == plain["loss_scale"]
        losses = [[point.get("train_loss") for point in first[2 * number + i]["points"].values()] for i in range(2)]
        assert losses[0] == losses[1]
    scales = state_of(folder / "4")["loss_scale"]
    assert scales["factor"] < 2.0**24, "steps were skipped, by both ranks"

    early, late = (state_of(folder / "8", step)["model"] for step in (1, 12))
    for name in ("unused.weight", "unused.bias", "pos_embed"):
        assert torch.equal(early[name], late[name]), f"{name} is not trained, so it does not decay either"
    assert not torch.equal(early["head.weight"], late["head.weight"])

    sharded, plain = (state_of(folder / str(len(items) - 3 + i)) for i in range(2))
    assert first[len(items) - 3]["evaluations"] == first[len(items) - 2]["evaluations"] > 12 + 6
    for name, value in plain["model"].items():
        # A norm's last bits may move a weight of float32 by one of its own; 12 steps of 0.1 through fp16 blow it up.
        torch.testing.assert_close(sharded["model"][name], value, rtol=0, atol=1e-3)
    # One rank's NaN ends both, naming the same step.
    assert first[-1]["reason"] == second[-1]["reason"] == "loss_not_finite"
    assert first[-1]["detail"] == second[-1]["detail"]
