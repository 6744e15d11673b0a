"""Which images a run sees, and which rank sees them when."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer import data
from trainer.contract.ends import EndReason
from trainer.datasets import digits
from trainer.datasets.order import BatchPlan, EndlessOrder, split
from trainer.errors import TrainerError

small = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


class TestEndlessOrder:
    @given(num_images=small, seed=seeds, epoch=st.integers(0, 1000))
    def test_each_epoch_is_a_permutation(self, num_images, seed, epoch):
        order = EndlessOrder(num_images, seed).between(epoch * num_images, (epoch + 1) * num_images)
        assert sorted(order) == list(range(num_images))

    @given(num_images=small, seed=seeds, start=st.integers(0, 500), sizes=st.lists(st.integers(1, 100), max_size=6))
    def test_any_cut_of_the_stream_is_the_stream(self, num_images, seed, start, sizes):
        ends = start + np.cumsum([0, *sizes])
        one = EndlessOrder(num_images, seed)
        pieces = [one.between(a, b) for a, b in itertools.pairwise(ends)]
        whole = EndlessOrder(num_images, seed).between(start, int(ends[-1]) + 1)
        assert np.array_equal(np.concatenate([*pieces, one.between(ends[-1], ends[-1] + 1)]), whole)

    @given(num_images=small, seed=seeds, step=st.integers(0, 300), batch=st.integers(1, 200))
    def test_no_image_is_ahead_of_another_by_more_than_one(self, num_images, seed, step, batch):
        seen = EndlessOrder(num_images, seed).between(0, (step % 7 + 1) * batch)
        counts = np.bincount(seen, minlength=num_images)
        assert counts.max() - counts.min() <= 1

    def test_epochs_and_seeds_differ(self):
        order = EndlessOrder(50, 0)
        first, second = order.between(0, 50), order.between(50, 100)
        assert not np.array_equal(first, second)
        assert not np.array_equal(first, EndlessOrder(50, 1).between(0, 50))

    def test_is_the_same_on_every_machine_and_version(self):
        # Written down once: a change here would break resuming and pairing with earlier runs.
        assert EndlessOrder(8, 0).between(0, 8).tolist() == PINNED_ORDER


PINNED_ORDER = [6, 2, 3, 4, 7, 1, 0, 5]


class TestBatchPlan:
    @given(
        ranks=st.integers(1, 5), micro_batches=st.integers(1, 5), pass_size=st.integers(1, 9), step=st.integers(0, 99)
    )
    def test_ranks_and_micro_batches_tile_the_global_batch(self, ranks, micro_batches, pass_size, step):
        batch = ranks * micro_batches * pass_size
        plan = BatchPlan(global_batch_size=batch, num_ranks=ranks, pass_size=pass_size)
        assert plan.num_micro_batches == micro_batches
        pieces = [plan.positions(step, rank, m) for rank in range(ranks) for m in range(micro_batches)]
        assert [position for start, stop in pieces for position in range(start, stop)] == list(
            range(step * batch, (step + 1) * batch)
        )


DEFAULT = {"validation_fraction": 0.2, "split_seed": 0}


class TestSplit:
    labels = np.random.default_rng(0).integers(0, 10, 1797)

    @given(fraction=st.floats(0.01, 0.99), split_seed=seeds)
    def test_parts_are_disjoint_complete_and_stratified(self, fraction, split_seed):
        train, validation = split(self.labels, validation_fraction=fraction, split_seed=split_seed)
        assert sorted([*train, *validation]) == list(range(1797))
        assert len(validation) == round(fraction * 1797)
        for label in range(10):
            held_out = np.sum(self.labels[validation] == label)
            assert abs(held_out - fraction * np.sum(self.labels == label)) <= 1

    @given(train_size=st.integers(10, 1400))
    def test_a_smaller_training_set_is_balanced_and_keeps_the_validation_set(self, train_size):
        whole, validation = split(self.labels, **DEFAULT)
        train, same = split(self.labels, **DEFAULT, train_size=train_size)
        assert len(train) == train_size
        assert np.array_equal(validation, same)
        assert set(train) <= set(whole)
        counts = np.bincount(self.labels[train], minlength=10)
        available = np.bincount(self.labels[whole], minlength=10)
        assert all(count >= counts.max() - 1 or count == has for count, has in zip(counts, available, strict=True))

    def test_more_than_there_is_names_the_field_and_the_most(self):
        with pytest.raises(TrainerError, match=r"data.train_size is 1500: must be <= 1438") as caught:
            split(self.labels, **DEFAULT, train_size=1500)
        assert caught.value.reason is EndReason.spec_rejected_by_trainer

    @pytest.mark.parametrize(("fraction", "side"), [(1e-6, "validation"), (1 - 1e-9, "training")])
    def test_an_empty_part_is_refused(self, fraction, side):
        with pytest.raises(TrainerError, match=f"leaves no {side} image"):
            split(self.labels, validation_fraction=fraction, split_seed=0)


class TestDigits:
    def test_are_those_of_scikit_learn(self):
        from sklearn.datasets import load_digits

        pixels, labels = digits.read()
        expected = load_digits()
        assert np.array_equal(pixels, expected.images)
        assert np.array_equal(labels, expected.target)

    def test_are_normalised_one_channel_in_the_precision(self, small_spec):
        loaded = data.load(small_spec(precision="fp64", data={"train_size": None}), torch.device("cpu"))
        assert loaded.train.pixels.dtype == torch.float64
        assert (loaded.channels, loaded.side, loaded.num_classes) == (1, 8, 10)
        assert abs(loaded.train.pixels.mean()) < 0.02
        assert abs(loaded.train.pixels.std() - 1) < 0.02

    def test_are_resized_on_request(self, small_spec):
        spec = small_spec(model={"name": "test_vit", "image_size": 32})
        assert data.load(spec, torch.device("cpu")).train.pixels.shape == (100, 1, 32, 32)

    def test_missing_files_have_their_reason(self, monkeypatch):
        monkeypatch.setattr(digits.np, "loadtxt", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError("gone")))
        with pytest.raises(TrainerError, match=r"digits.csv.gz could not be read") as caught:
            digits.read()
        assert caught.value.reason is EndReason.data_unreadable
