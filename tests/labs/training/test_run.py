"""Whole runs on the bundled digits, and on real data where it is there. Promises 2, 4, 8 and 10."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from labs.data import datasets, imagefolder
from labs.data.images import Images
from labs.errors import UserError
from labs.files import read_json
from labs.jobs import preflight
from labs.models.build import build_model
from labs.training import checkpoint, machine, results, run

Compose = Callable[..., DictConfig]


def train(cfg: DictConfig, cell: Path, seeds: tuple[int, ...] = (0,), show_progress: bool = False) -> list[dict[str, Any]]:
    cell.mkdir(parents=True, exist_ok=True)
    return run.train(cfg, cell, list(seeds), show_progress=show_progress)


def last_weights(cell: Path, seed: int = 0) -> dict[str, Tensor]:
    return checkpoint.load(cell / f"seed={seed}" / "checkpoints" / "last.pt")["model"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_directory_keeps_the_run_contract(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config("model.residual=true", "trainer.epochs=3", "trainer.save_every=2", "logger=tensorboard")
    [result] = train(cfg, tmp_path)
    folder = tmp_path / "seed=0"
    assert {path.name for path in folder.iterdir()} == {
        "metrics.jsonl", "layers.jsonl", "result.json", "test_correct.json", "checkpoints", "tensorboard"
    }  # fmt: skip
    assert "21,674" in (tmp_path / "summary.txt").read_text()
    rows, layers = lines(folder / "metrics.jsonl"), lines(folder / "layers.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    names = {"epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "grad_norm", "seconds"}
    assert all(row.keys() == names for row in rows)
    assert [record["epoch"] for record in layers] == [0, 1, 2, 3]
    assert layers[0]["update_ratio"] is None
    assert all(len(record["grad_norm"]) == len(result["layers"]) == 6 for record in layers)
    best = max(rows, key=lambda row: row["val_acc"])
    assert results.sealed(result) == read_json(folder / "result.json")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.pt", "best.pt", "epoch_2.pt"}
    assert result | {name: best[name] for name in ("train_loss", "train_acc", "val_loss", "val_acc")} == result
    assert (result["status"], result["seed"], result["depth"], result["residual"]) == ("done", 0, 5, True)
    assert (result["params"], result["epochs_run"], result["best_epoch"]) == (21_674, 3, best["epoch"])
    assert 0 <= result["test_acc"] <= 100
    assert result["versions"].keys() >= {"python", "torch", "hydra-core"}


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config("model=cnn", "model.filters=[4,8]")
    states = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(cfg, tmp_path / name, (seed,))
        torch.randn(7)  # what happens between runs does not matter
        states.append(last_weights(tmp_path / name, seed))
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert any(not torch.equal(tensor, states[2][name]) for name, tensor in states[0].items())


# ── promise 2 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_test_images_are_read_once_after_training_with_the_best_weights(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    load, fit, evaluate = datasets.load, run.fit, run.evaluate
    test_images = load(compose_config().dataset, train=False)
    weights: list[dict[str, Tensor]] = []

    def spy_load(cfg: DictConfig, *, train: bool) -> Images:
        events.append("read training" if train else "read test")
        return load(cfg, train=train)

    def spy_fit(*args: Any) -> None:
        fit(*args)
        events.append("trained")

    def spy_evaluate(replicas: Any, batches: Any, right: Any) -> Any:
        events.append(f"tested on {len(batches)}")
        weights.append(replicas.state_of(0))
        return evaluate(replicas, batches, right)

    monkeypatch.setattr(run.datasets, "load", spy_load)
    monkeypatch.setattr(run, "fit", spy_fit)
    monkeypatch.setattr(run, "evaluate", spy_evaluate)
    cfg = compose_config("trainer.epochs=8", "optimizer.lr=0.03", "trainer.batch_size=32")
    [result] = train(cfg, tmp_path)
    assert events == ["read training", "trained", "read test", *[f"tested on {len(test_images)}"] * 2]
    assert result["best_epoch"] < 8  # so that the last weights are not the best
    best = checkpoint.load(tmp_path / "seed=0" / "checkpoints" / "best.pt")["model"]
    assert all(torch.equal(tensor, best[name]) for name, tensor in weights[0].items())
    kept = [name for name in best if "running" not in name and "tracked" not in name]  # the second has BatchNorm recalibrated
    assert all(torch.equal(weights[1][name], best[name]) for name in kept)


def test_what_is_in_the_test_images_changes_nothing_but_the_test_numbers(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, load = compose_config(), datasets.load
    [honest] = train(cfg, tmp_path / "honest")

    def other_test_images(cfg: DictConfig, *, train: bool) -> Images:
        images = load(cfg, train=train)
        return images if train else Images(255 - images.images, images.labels.flip(0), images.classes)

    monkeypatch.setattr(run.datasets, "load", other_test_images)
    [other] = train(cfg, tmp_path / "other")
    different = {name for name in honest if honest[name] != other[name]}
    assert different - {"seconds"} == {"test_loss", "test_acc", "test_acc_recalibrated", "test_data"}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A hundred small images of two classes, a rare third one, and a file that is none."""
    for i in range(101):
        path = tmp_path / "pictures" / ("eel" if i == 100 else ("cat", "dog")[i % 2]) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (8, 8), (i, 255 - i, 0)).save(path)
    (tmp_path / "pictures" / "cat" / "notes.txt").write_text("")
    return tmp_path / "pictures"


def reading(pictures: Path) -> list[str]:
    return ["dataset=imagefolder", f"dataset.folder={pictures}", "dataset.resize=8"]


def test_the_images_of_both_parts_are_recorded(compose_config: Compose, tmp_path: Path, pictures: Path) -> None:
    cfg = compose_config(*reading(pictures))
    recorded = []
    for name in ("before", "after"):
        [result] = train(cfg, tmp_path / name)
        assert result["data"] == f"{datasets.load(cfg.dataset, train=True).fingerprint():08x}"
        assert result["test_data"] == f"{datasets.load(cfg.dataset, train=False).fingerprint():08x}"
        recorded.append((result["data"], result["test_data"]))
        test_images = {path for path, _ in imagefolder._parts(imagefolder._find(cfg.dataset), cfg.dataset)[1]}
        changed = PIL.Image.open(min(test_images))
        changed.putpixel((0, 0), (1, 2, 3))
        changed.save(min(test_images))
    assert recorded[0][0] == recorded[1][0]
    assert recorded[0][1] != recorded[1][1]


def test_images_that_come_while_training_are_never_tested(
    compose_config: Compose, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more image and another share is held out, some of which was trained on."""
    cfg = compose_config(*reading(pictures))
    fit = run.fit

    def fit_while_one_comes(*args: Any) -> None:
        fit(*args)
        shutil.copyfile(pictures / "cat" / "0.png", pictures / "cat" / "0-copy.png")

    with monkeypatch.context() as patch:
        patch.setattr(run, "fit", fit_while_one_comes)
        with pytest.raises(UserError, match=r"images were added, removed or moved while this run trained; it is not tested"):
            train(cfg, tmp_path / "cell")
    assert not (tmp_path / "cell" / "seed=0" / "result.json").exists()
    (pictures / "cat" / "0-copy.png").unlink()
    [result] = train(cfg, tmp_path / "cell")
    assert result["test_data"] == f"{datasets.load(cfg.dataset, train=False).fingerprint():08x}"


@pytest.mark.parametrize("show_progress", [True, False])
def test_what_is_read_and_what_is_too_rare_is_said_once(
    compose_config: Compose, tmp_path: Path, pictures: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str], show_progress: bool,
) -> None:  # fmt: skip
    """In a single run on the terminal; in a sweep before its first job, and in each job's train.log."""
    cfg = compose_config(*reading(pictures))
    caplog.set_level("INFO")
    (tmp_path / "cell").mkdir()
    run.train(cfg, tmp_path / "cell", [0, 1], show_progress=show_progress)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    lines = [line for line in said if str(pictures) in line[1]]
    assert len(lines) == 1
    assert lines[0][1].endswith("3 classes; 1 file skipped: 1 of type .txt")
    level = "WARNING" if show_progress else "INFO"
    assert [line[0] for line in said if "class eel (1 for training): too rare for dataset.test_fraction=0.2" in line[1]] == [
        level
    ]

    capsys.readouterr()
    preflight.check_data([compose_config(*reading(pictures), f"seed={seed}") for seed in range(3)])
    assert capsys.readouterr().out.count("1 of type .txt") == 1


# ── promise 4 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["model=mlp", "model=cnn"])
@pytest.mark.parametrize(
    "switch",
    [
        "logger=tensorboard",
        "logger=wandb",
        "logger=all",
        "trainer.diagnostics=off",
        "progress",
        "summary",
        "trainer.save_every=1",
    ],
)
def test_what_watches_training_never_changes_it(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, switch: str
) -> None:
    base = [model, *(["model.filters=[4,8]"] if model == "model=cnn" else [])]
    train(compose_config(*base), tmp_path / "base")
    if switch == "summary":
        monkeypatch.setattr(run, "summarize", lambda *_: run.Summary("", 0, 0))
    changes = [switch] if "=" in switch else []
    train(compose_config(*base, *changes), tmp_path / "other", show_progress=switch == "progress")
    other = last_weights(tmp_path / "other")
    assert all(torch.equal(tensor, other[name]) for name, tensor in last_weights(tmp_path / "base").items())


# ── promise 8 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_diverged_run_is_a_result_with_nulls(compose_config: Compose, tmp_path: Path) -> None:
    [result] = train(compose_config("optimizer=sgd", "optimizer.lr=1e30"), tmp_path)
    assert result["status"] == "diverged"
    assert (result["epochs_run"], result["best_epoch"]) == (1, None)
    assert [result[name] for name in ("train_loss", "val_loss", "val_acc", "test_loss", "test_acc")] == [None] * 5
    text = (tmp_path / "seed=0" / "metrics.jsonl").read_text()
    assert '"train_loss": null' in text
    assert "NaN" not in text + (tmp_path / "seed=0" / "result.json").read_text()


# ── promise 10 ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def leaves(cfg: DictConfig, prefix: str = "") -> set[str]:
    found = set()
    for key, value in cfg.items():
        name = f"{prefix}{key}"
        found |= leaves(value, f"{name}.") if isinstance(value, DictConfig) else {name}
    return found


def test_training_reads_every_setting(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instantiated groups (`_target_`) go to their constructor whole, which refuses what it does not know."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    cfg = compose_config("trainer.diagnostics=every_n", "trainer.epochs=1", "logger=all")
    expected = leaves(OmegaConf.masked_copy(cfg, ["dataset", "trainer", "logger", "device"]))
    read: set[str] = set()
    original = DictConfig._get_impl

    def spy(self: DictConfig, key: Any, default_value: Any, *args: Any, **kwargs: Any) -> Any:
        read.add(str(self._get_full_key(key)))
        return original(self, key, default_value, *args, **kwargs)

    monkeypatch.setattr(run.cells, "config_hash", lambda cfg: "")  # it reads everything, to no effect on training
    monkeypatch.setattr(DictConfig, "_get_impl", spy)
    train(cfg, tmp_path)
    only_for_downloads = {"dataset.data_dir", "dataset.download"}
    only_while_shown = {"trainer.log_every"}
    assert expected - read - only_for_downloads - only_while_shown == set()


@pytest.mark.parametrize("override", ["seed=1", "optimizer=sgd", "optimizer=adamw", "scheduler=cosine", "optimizer.lr=0.01",
    "optimizer.weight_decay=0.1", "optimizer.betas=[0.5,0.9]", "trainer.batch_size=32",
    "trainer.epochs=1", "model.depth=6", "model.width=16", "trainer.steps_per_epoch=2",
    "model.widths=[32,32]", "dataset.val_size=300", "dataset.split_seed=1", "dataset.image_size=6",
    "dataset.normalize=false", "dataset.augment=none", "dataset.crop_padding=0", "dataset.horizontal_flip=true",
    "trainer.precision=bf16"])  # fmt: skip
def test_each_setting_changes_the_numbers(compose_config: Compose, tmp_path: Path, override: str) -> None:
    def numbers(*overrides: str) -> list[Any]:
        cfg = compose_config(*overrides)
        cell = tmp_path / (overrides[0] if overrides else "base")
        train(cfg, cell, (cfg.seed,))
        return [(row["train_loss"], row["lr"]) for row in lines(cell / f"seed={cfg.seed}" / "metrics.jsonl")]

    assert numbers() != numbers(override)


@pytest.mark.parametrize(("overrides", "plain"), [
    (["model.depth=3", "model.residual=true"], True),
    (["model.depth=4", "model.residual=true"], True),
    (["model.widths=[8,6,4,3,2]", "model.residual=true"], True),
    (["model=cnn", "model.filters=[4]", "model.residual=true"], True),
    (["model.depth=3", "model.residual=false"], False),
    (["model.depth=3", "model.residual=true", "model.shortcut=projection"], False),
    (["model.depth=5", "model.residual=true"], False),
    (["model=cnn", "model.filters=[4,8]", "model.residual=true"], False),
])  # fmt: skip
def test_a_residual_network_without_a_skip_says_that_it_is_the_plain_one(
    compose_config: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, overrides: list[str], plain: bool
) -> None:
    train(compose_config(*overrides, "trainer.epochs=0"), tmp_path)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.partition(" has no place")[0] for line in warned] == (
        [f"model.residual=true: depth {build_model(compose_config(*overrides), 0).depth}"] if plain else []
    )


# ── the machine ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="device=cuda: torch finds 0 CUDA devices here; set device=cpu or device=auto"):
        machine.choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.choose_device("auto") == torch.device("cuda:0")
    assert machine.choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="device=cuda:2: torch finds 2"):
        machine.choose_device("cuda:2")


def test_gpu_out_of_memory_says_what_to_lower(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run, "fit", fit)
    with pytest.raises(UserError, match=r"the GPU is out of memory: lower trainer.batch_size \(64\)"):
        train(compose_config(), tmp_path)


def test_threads_follow_the_kind_of_network(compose_config: Compose) -> None:
    mlp, cnn = (build_model(compose_config(f"model={name}"), 0) for name in ("mlp", "cnn"))
    assert machine.set_threads("auto", mlp) == torch.get_num_threads() == 1
    assert machine.set_threads("auto", cnn) == torch.get_num_threads() == machine.DEFAULT_THREADS
    assert machine.set_threads(2, mlp) == torch.get_num_threads() == 2


FAULTS = """
import resource, sys
import torch
from labs.training.run import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def step():
    return torch.empty(2**24).zero_()  # 64 MiB, 16,384 pages of 4 KiB
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_arrays_are_kept_from_step_to_step() -> None:
    def pages(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout)

    # A small allocation may take a bit of the freed array, and the next one then needs new pages: now and then, not at every
    # step. Where pages are huge, "not" takes few of them: hence a ratio.
    assert pages("kept") < pages("not") / 4


# ── real data ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_epoch_of_mnist_learns(compose_config: Compose, tmp_path: Path, real_data: str) -> None:
    cfg = compose_config("experiment=mnist_mlp", "model.residual=true", "trainer.epochs=1", f"dataset.data_dir={real_data}")
    [result] = train(cfg, tmp_path)
    assert result["params"] == 113_834
    assert result["test_acc"] > 93


@pytest.mark.slow
def test_depth_100_on_mnist_fails_plain_and_trains_residual(compose_config: Compose, tmp_path: Path, real_data: str) -> None:
    accuracies = {}
    for residual in (False, True):
        cfg = compose_config(
            "experiment=mnist_mlp", "model.depth=100", f"model.residual={residual}", "trainer.epochs=20",
            "dataset.augment=none", f"dataset.data_dir={real_data}",
        )  # fmt: skip
        accuracies[residual] = train(cfg, tmp_path / str(residual))[0]["test_acc"]
    assert accuracies[False] < 20
    assert accuracies[True] > 96


def test_running_out_of_memory_anywhere_is_one_line(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {
        "the GPU": torch.cuda.OutOfMemoryError("CUDA out of memory"),
        "this machine": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 4 TB"),
    }
    for name, error in errors.items():

        def moving(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Images, "to", moving)
        with pytest.raises(UserError, match=rf"^{name} is out of memory: lower trainer\.batch_size \(64\), "):
            train(compose_config(), tmp_path)
    monkeypatch.setattr(run, "fit_and_test", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train(compose_config(), tmp_path)


def test_a_network_without_linear_or_convolution_trains_with_diagnostics(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Templates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.templates = torch.nn.Parameter(torch.randn(10, 64))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ self.templates.T

    monkeypatch.setattr(run, "build_model", lambda cfg, seed: Templates())
    [result] = train(compose_config(), tmp_path)
    assert (result["status"], result["layers"], result["depth"]) == ("done", [], 0)
    assert lines(tmp_path / "seed=0" / "metrics.jsonl")[0]["grad_norm"] > 0
