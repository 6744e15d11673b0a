"""Image folders as a run sees them: the same images whoever reads them, and errors that name the file."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.unit.trainer.image_folders import draw, make_folder, truncate
from tests.unit.trainer.opened_data import batches, paths_of, pixels_from, pixels_of, same
from trainer import data, randomness
from trainer.contract.ends import EndReason
from trainer.datasets import read_images, transforms
from trainer.errors import TrainerError
from trainer.parallel import World

CPU = torch.device("cpu")
VIT = {
    "name": "vit_tiny_patch16_224", "image_size": 8,
    "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}  # fmt: skip
JITTER = {"color_jitter": 0.5}
STRONG = {"auto_augment": "rand-m9-n2-mstd0.5-inc1", "random_erasing": 0.5}


def counted(answers, into):
    for answer in answers:
        into.append(answer)
        yield answer


@pytest.fixture
def folder_spec(small_spec, tmp_path):
    """A spec on a folder of 3 classes x 20 images, which is made the first time."""

    def make(folder=None, *, loader_workers=0, augmentation=None, validation_fraction=0.2, **changes):
        folder = folder or tmp_path / "images"
        if not folder.exists():
            make_folder(folder, 3, 20)
        images = {
            "source": "image_folder", "train": str(folder), "loader_workers": loader_workers,
            "augmentation": augmentation or {}, "validation_fraction": validation_fraction, **changes.pop("data", {}),
        }  # fmt: skip
        spec = small_spec(**{"model": VIT, "global_batch_size": 8, **changes})
        return type(spec).model_validate({**spec.model_dump(mode="json"), "data": images})

    return make


class TestAugmentation:
    @pytest.mark.parametrize("augmentation", [JITTER, STRONG])
    def test_is_a_function_of_seed_epoch_and_image_alone(self, folder_spec, opened, augmentation):
        spec = folder_spec(augmentation=augmentation)
        expected = pixels_of(opened(spec), spec, range(14))
        random.seed(1)
        torch.manual_seed(1)
        np.random.seed(1)
        for other in (
            folder_spec(augmentation=augmentation, loader_workers=1),
            folder_spec(augmentation=augmentation, loader_workers=2, micro_batch_size=2),
        ):
            assert same(pixels_of(opened(other), other, range(14)), expected)
        two = folder_spec(augmentation=augmentation, micro_batch_size=2)
        assert same(pixels_of(opened(two), two, range(14), ranks=2), expected)
        elsewhere = folder_spec(augmentation=augmentation, seed=1)
        assert not same(pixels_of(opened(elsewhere), elsewhere, range(1)), expected[:1])

    def test_differs_between_epochs(self, folder_spec, opened):
        spec = folder_spec(global_batch_size=48, validation_fraction=0.2)  # a step is an epoch
        loaded = opened(spec)
        assert len(loaded.train) == 48
        first, second = pixels_of(loaded, spec, [0, 1])
        assert len({image.sum().item() for image in torch.cat([first, second])}) == 96

    @pytest.mark.parametrize("loader_workers", [0, 2])
    def test_any_step_may_come_first_and_again(self, folder_spec, opened, loader_workers):
        spec = folder_spec(loader_workers=loader_workers, micro_batch_size=4)
        whole = pixels_of(opened(spec), spec, range(9))
        loaded = opened(spec)
        mine = batches(loaded, spec)
        for step in (5, 6, 2, 3, 8):
            for _ in range(2):  # a refresh
                again = torch.cat([mine.at(step, m)[0] for m in range(2)])
                assert torch.equal(again, whole[step])

    def test_a_second_pass_over_more_than_is_kept_reads_again(self, folder_spec, opened, monkeypatch):
        monkeypatch.setattr(read_images, "MAX_KEPT_BYTES", 1)
        spec = folder_spec(loader_workers=1, micro_batch_size=2)
        whole = pixels_of(opened(spec), spec, range(6))
        mine = batches(opened(spec), spec)
        for step in range(6):
            for _ in range(2):
                assert torch.equal(torch.cat([mine.at(step, m)[0] for m in range(4)]), whole[step])

    @pytest.mark.parametrize("loader_workers", [0, 1])
    def test_a_second_pass_reads_no_more_than_what_was_not_kept(self, folder_spec, opened, monkeypatch, loader_workers):
        monkeypatch.setattr(read_images, "KEPT_MICRO_BATCHES", 3)
        spec = folder_spec(loader_workers=loader_workers, micro_batch_size=1)  # 8 in a step
        whole = pixels_of(opened(spec), spec, range(4))
        loaded = opened(spec)
        mine = batches(loaded, spec)
        answered = []
        aside = mine._loader.aside
        monkeypatch.setattr(mine._loader, "aside", lambda requests: counted(aside(requests), answered))
        for step in range(4):
            answered.clear()
            for _ in range(2):
                assert torch.equal(torch.cat([mine.at(step, m)[0] for m in range(8)]), whole[step])
            assert len(answered) == 5, "eight but the first two and the last"
            assert len(mine._kept) == 3

    def test_a_micro_batch_that_is_asked_for_twice_in_a_row_is_read_once(self, folder_spec, opened, monkeypatch):
        monkeypatch.setattr(read_images, "KEPT_MICRO_BATCHES", 2)
        spec = folder_spec(micro_batch_size=1)
        whole = pixels_of(opened(spec), spec, [0])
        mine = batches(opened(spec), spec)
        monkeypatch.setattr(mine._loader, "aside", lambda _: pytest.fail("it was read again"))
        for micro_batch in range(8):
            for _ in range(2):
                assert torch.equal(mine.at(0, micro_batch)[0], whole[0][micro_batch : micro_batch + 1])

    def test_a_second_pass_may_end_early_and_begin_again(self, folder_spec, opened, monkeypatch):
        """As in fp16, where a step that is not finite is taken again."""
        monkeypatch.setattr(read_images, "KEPT_MICRO_BATCHES", 2)
        spec = folder_spec(loader_workers=1, micro_batch_size=1)
        whole = pixels_of(opened(spec), spec, range(3))
        mine = batches(opened(spec), spec)
        for step in range(3):
            for passes in (8, 4, 8, 8):
                found = torch.cat([mine.at(step, m)[0] for m in range(passes)])
                assert torch.equal(found, whole[step][:passes])

    def test_leaves_the_global_streams_alone(self, folder_spec, opened):
        def seed():
            for put in (torch.manual_seed, random.seed, np.random.seed):
                put(5)

        def draw_each():
            return torch.rand(1).item(), random.random(), np.random.random()

        spec = folder_spec(augmentation=STRONG)
        mine = batches(opened(spec), spec)
        seed()
        mine.at(0, 0)
        drawn = draw_each()
        seed()
        assert drawn == draw_each()

    @pytest.mark.parametrize("augmentation", [JITTER, STRONG])
    def test_draws_from_the_streams_that_are_seeded(self, folder_spec, augmentation):
        spec = folder_spec(augmentation=augmentation)
        augmenting = transforms.build(spec.model, spec.data).augmenting
        image = draw(0, 32)
        results = []
        for image_number in (2, 3, 2):
            randomness.seed_augmentation(0, 1, image_number)
            results.append(augmenting(image))
        assert torch.equal(results[0], results[2])
        assert not torch.equal(results[0], results[1])

    def test_rand_augment_draws_from_numpys_stream(self, folder_spec):
        """Why that stream must be seeded: without it the same image would be augmented otherwise each time."""
        spec = folder_spec(augmentation={"auto_augment": "rand-m9-n2"})
        before = np.random.get_state()
        transforms.build(spec.model, spec.data).augmenting(draw(0, 32))
        moved = np.random.get_state()
        assert before[2] != moved[2] or not np.array_equal(before[1], moved[1])

    def test_erasing_sets_a_rectangle_to_the_mean_and_changes_nothing_else(self, folder_spec):
        quiet = {"crop_scale": [1, 1], "horizontal_flip": 0}
        model, mean = {**VIT, "image_size": 32}, [0.2, 0.4, 0.6]
        spec = folder_spec(model=model, augmentation={**quiet, "random_erasing": 1.0}, data={"mean": mean})
        image = Image.new("RGB", (32, 32), (7, 8, 9))
        randomness.seed_augmentation(0, 0, 0)
        erased = transforms.build(spec.model, spec.data).augmenting(image)
        assert erased.dtype == torch.uint8
        changed = (erased != torch.tensor([7, 8, 9]).view(3, 1, 1)).all(dim=0)
        rows, columns = changed.any(dim=1).sum(), changed.any(dim=0).sum()
        assert 0 < changed.sum() == rows * columns < 32 * 32 / 2
        assert (erased[:, changed] == torch.tensor([51, 102, 153]).view(3, 1)).all()
        assert (erased[:, ~changed] == torch.tensor([7, 8, 9]).view(3, 1)).all()

    @pytest.mark.parametrize("increasing", [0, 1])
    @pytest.mark.parametrize("magnitude", range(11))
    def test_every_operation_of_rand_augment_works_at_every_strength(self, folder_spec, magnitude, increasing):
        spec = folder_spec(augmentation={"auto_augment": f"rand-m{magnitude}-p1.0-inc{increasing}"})
        (step,) = (t for t in transforms.build(spec.model, spec.data).augmenting.transforms if hasattr(t, "ops"))
        image = draw(0, 16, base=100)
        for operation in step.ops:
            assert operation(image).size == (16, 16)

    def test_the_words_of_rand_augment_are_timms(self, folder_spec):
        spec = folder_spec(augmentation={"auto_augment": "rand-m7-n3-p0.4-mstd0.5-mmax9-inc1"})
        (ours,) = (t for t in transforms.build(spec.model, spec.data).augmenting.transforms if hasattr(t, "num_layers"))
        assert (ours.num_layers, len(ours.ops)) == (3, 15)
        for each in ours.ops:
            assert (each.magnitude, each.magnitude_std, each.magnitude_max, each.prob) == (7, 0.5, 9, 0.4)


class TestTransforms:
    def test_evaluation_is_timms_own_transform(self, folder_spec, opened):
        import timm

        spec = folder_spec(model={**VIT, "image_size": 24})
        loaded = opened(spec)
        config = timm.get_pretrained_cfg("vit_tiny_patch16_224")
        theirs = timm.data.create_transform(
            24, interpolation=config.interpolation, crop_pct=config.crop_pct, mean=spec.data.mean, std=spec.data.std
        )
        pixels, labels = next(loaded.validation.share_of(0, 1, 100))
        paths = paths_of(loaded.validation)
        assert len(paths) == len(pixels) == 12
        for path, ours, label in zip(paths, pixels, labels, strict=True):
            torch.testing.assert_close(ours, theirs(Image.open(path).convert("RGB")), rtol=1e-5, atol=1e-5)
            assert path.split("/")[-2] == f"c{label:03d}"

    @pytest.mark.parametrize("size", [(8, 8), (60, 8), (7, 90)])
    def test_crop_scale_of_one_sees_whole_images_everywhere(self, folder_spec, size):
        spec = folder_spec(augmentation={"crop_scale": [1, 1], "horizontal_flip": 0})
        both = transforms.build(spec.model, spec.data)
        image = draw(0, size)
        expected = torch.from_numpy(np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC)).copy()).permute(2, 0, 1)
        assert torch.equal(both.plain(image), expected)
        assert torch.equal(both.augmenting(image), expected)

    def test_off_is_off(self, folder_spec):
        spec = folder_spec(augmentation={"crop_scale": [1, 1], "horizontal_flip": 0, "color_jitter": 0})
        names = [type(step).__name__ for step in transforms.build(spec.model, spec.data).augmenting.transforms]
        assert names == ["Resize", "MaybePILToTensor"]

    @pytest.mark.parametrize(("model", "side"), [("vit_tiny_patch16_224", 224), ("vit_tiny_patch16_384", 384),
                                                 ("test_vit", 160)])  # fmt: skip
    def test_the_size_is_the_specs_or_the_models(self, folder_spec, model, side):
        assert transforms.side_of(folder_spec(model={"name": model}).model) == side
        assert transforms.side_of(folder_spec(model={"name": model, "image_size": 48}).model) == 48

    def test_pixels_are_normalised_in_the_precision(self, folder_spec, opened, tmp_path):
        folder = tmp_path / "grey"
        for label in ("a", "b"):
            (folder / label).mkdir(parents=True)
            for number in range(5):
                Image.new("L", (8, 8), 51).save(folder / label / f"{number}.png")
        spec = folder_spec(folder, precision="fp64", data={"mean": [0.2, 0.1, 0.0], "std": [1, 0.1, 0.5]})
        pixels, labels = batches(opened(spec), spec).at(0, 0)
        assert (pixels.dtype, labels.dtype) == (torch.float64, torch.int64)
        torch.testing.assert_close(pixels[0, :, 3, 4], torch.tensor([0, 1, 0.4], dtype=torch.float64))


class TestSets:
    def test_a_share_is_held_out_by_class_and_by_split_seed(self, folder_spec, opened):
        def held_out(**changes):
            return paths_of(opened(folder_spec(data=changes)).validation)

        paths = held_out()
        assert [sum(f"/c00{label}/" in path for path in paths) for label in range(3)] == [4, 4, 4]
        assert held_out() == paths
        assert held_out(split_seed=1) != paths
        loaded = opened(folder_spec())
        assert not set(paths) & set(paths_of(loaded.train))
        assert (len(loaded.train), loaded.num_classes, loaded.channels, loaded.side) == (48, 3, 3, 8)

    def test_no_class_loses_its_last_training_image(self, folder_spec, opened, tmp_path):
        folder = make_folder(tmp_path / "few", 40, 1)
        for number in range(4):
            draw(number).save(folder / "c000" / f"more{number}.png")
        spec = folder_spec(folder, validation_fraction=0.5)
        loaded = opened(spec)
        assert {int(label) for _, labels in loaded.train.share_of(0, 1, 9) for label in labels} == set(range(40))

    def test_a_validation_folder_gives_the_training_folders_labels(self, folder_spec, opened, tmp_path):
        make_folder(tmp_path / "validation", 3, 2)
        shutil.rmtree(tmp_path / "validation" / "c001")
        spec = folder_spec(validation_fraction=None, data={"validation": str(tmp_path / "validation")})
        loaded = opened(spec)
        assert (len(loaded.train), len(loaded.validation)) == (60, 4)
        assert next(loaded.validation.share_of(0, 1, 9))[1].tolist() == [0, 0, 2, 2]

    def test_a_class_that_training_lacks_is_named(self, folder_spec, tmp_path):
        make_folder(tmp_path / "validation", 4, 1)
        spec = folder_spec(validation_fraction=None, data={"validation": str(tmp_path / "validation")})
        with pytest.raises(TrainerError, match=r"validation/c003 is a class that .*images has no folder of") as caught:
            data.load(spec, CPU)
        assert caught.value.reason is EndReason.data_unreadable

    def test_a_test_folder_is_measured_once_at_the_end(self, folder_spec, run, tmp_path):
        make_folder(tmp_path / "test", 3, 5, seed=500)
        result = run(folder_spec(data={"test": str(tmp_path / "test")}, steps=12))
        measured = {step: point for step, point in result.recorder.points.items() if "test_top1" in point}
        assert list(measured) == [12]
        assert measured[12]["test_top1"] * 15 / 100 == pytest.approx(round(measured[12]["test_top1"] * 15 / 100))
        assert result.outcome.numbers["test_loss"] == measured[12]["test_loss"] != measured[12]["validation_loss"]
        without = run(folder_spec(steps=12))
        assert not any("test_top1" in point for point in without.recorder.points.values())
        assert {k: torch.equal(v, result.weights[k]) for k, v in without.weights.items()} == dict.fromkeys(
            result.weights, True
        )

    @pytest.mark.parametrize("loader_workers", [0, 2])
    def test_evaluation_goes_between_and_the_stream_goes_on(self, folder_spec, opened, loader_workers):
        spec = folder_spec(loader_workers=loader_workers)
        whole = pixels_of(opened(spec), spec, range(8))
        loaded = opened(spec)
        shares = [[*loaded.train.share_of(rank, 3, 5)] for rank in range(3)]
        plain = torch.cat([pixels for share in shares for pixels, _ in share])
        assert [len(labels) for _, labels in shares[0]] == [5, 5, 5, 1]
        assert torch.cat([labels for share in shares for _, labels in share]).tolist() == [0] * 16 + [1] * 16 + [2] * 16
        mine = batches(loaded, spec)
        for step in range(8):
            assert torch.equal(mine.at(step, 0)[0], whole[step])
            if step % 3 == 0:
                again = torch.cat([pixels for pixels, _ in loaded.train.share_of(0, 1, 7)])
                assert torch.equal(again, plain)
            if step == 4:
                for _ in loaded.validation.share_of(0, 1, 1):
                    break  # an evaluation that is given up

    def test_a_rank_that_found_other_images_is_told(self, folder_spec, opened, tmp_path):
        class OtherWorld(World):
            def from_first_(self, tensor):
                return tensor + 1

        loaded = opened(folder_spec())
        data.check_alike(loaded, World.single())
        with pytest.raises(TrainerError, match="Rank 1 found other images than rank 0: all machines must see"):
            data.check_alike(loaded, OtherWorld(rank=1, size=2, device=CPU))


class TestEnds:
    @pytest.mark.parametrize("loader_workers", [0, 2])
    def test_a_truncated_file_ends_the_run_and_is_named(self, folder_spec, run, tmp_path, loader_workers):
        folder = make_folder(tmp_path / "jpegs", 3, 6, extension="jpg", side=32)
        broken = truncate(folder / "c001" / "003.jpg")
        with pytest.raises(TrainerError, match=rf"^{broken} is damaged \(.*[Tt]runcated.*\)\. Replace or remove it; "
                           rf"`basin data check {folder}` finds all such files") as caught:  # fmt: skip
            run(folder_spec(folder, loader_workers=loader_workers, steps=20))
        assert caught.value.reason is EndReason.data_unreadable
        assert not loader_processes()

    def test_a_path_is_named_as_it_was_written_and_as_it_is(self, folder_spec, opened, tmp_path):
        folder = make_folder(tmp_path / "root" / "pets", 2, 4)
        for image in folder.glob("*/*.png"):
            image.write_bytes(b"")
        spec = folder_spec(folder, data={"train": "pets"})
        loaded = opened(spec, roots=[str(tmp_path / "root")])
        with pytest.raises(TrainerError, match=rf"^pets/c00./00..png \({folder}/c00./00..png\) is no image that"):
            batches(loaded, spec).at(0, 0)

    def test_no_process_is_left_after_the_end(self, folder_spec, run):
        result = run(folder_spec(loader_workers=2, steps=6))
        assert result.outcome.reason is EndReason.completed
        assert not loader_processes()

    def test_a_killed_process_ends_the_run_clearly(self, folder_spec, opened):
        spec = folder_spec(loader_workers=1)
        loaded = opened(spec)
        mine = batches(loaded, spec)
        mine.at(0, 0)
        (process,) = loader_processes()
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(TrainerError, match=r"A process that reads images ended by itself: .*loader_workers"):
            pixels_from(mine, range(1, 50))

    def test_processes_stand_aside_of_signals_to_the_group(self, folder_spec, opened):
        spec = folder_spec(loader_workers=2)
        loaded = opened(spec)
        mine = batches(loaded, spec)
        pixels_from(mine, range(2))  # one of each process: both are past their start
        processes = loader_processes()
        assert len(processes) == 2
        for process in processes:
            assert os.getpgid(process.pid) == process.pid
            assert os.getpgid(process.ppid()) == process.ppid()  # the fork server's
            process.send_signal(signal.SIGINT)
        pixels_from(mine, range(2, 10))
        loaded.close()
        assert not loader_processes()


def loader_processes(patience_seconds: float = 10.0) -> list[psutil.Process]:
    """Living grandchildren of this process: what the fork server made. A just ended one may take a moment."""
    deadline = time.monotonic() + patience_seconds
    while True:
        found = [
            process
            for child in psutil.Process().children()
            if "forkserver" in " ".join(child.cmdline())  # not the services that other tests started
            for process in child.children()
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]
        if not found or time.monotonic() > deadline or all(p.create_time() < time.time() - 0.5 for p in found):
            return found
        time.sleep(0.05)
