"""`python -m labs.evaluate`: the numbers of result.json again, from the checkpoint alone."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from noted import trained
from omegaconf import DictConfig
from PIL import Image

from labs import cells, evaluate
from labs.data import datasets
from labs.errors import UserError
from labs.files import read_json, write_json
from labs.training import checkpoint, results

Compose = Callable[..., DictConfig]


CASES = {
    "mlp": ["model.residual=true", "model.shortcut=projection"],
    "cnn": ["model=cnn", "model.filters=[4,8]", "trainer.steps_per_epoch=6"],
    "bf16": ["model=cnn", "model.filters=[4,8]", "trainer.precision=bf16", "trainer.steps_per_epoch=6"],
    "not normalised, small batches": ["dataset.normalize=false", "trainer.eval_batch_size=7"],
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_the_numbers_of_result_json_come_out_again_to_the_last_bit(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str]
) -> None:
    directories = trained(compose_config(*overrides), tmp_path, 0, 1)
    torch.set_num_threads(2)  # what the run used counts, and not what is set here
    for directory in directories:
        result = read_json(directory / "result.json")
        evaluate.main([str(directory)])
        out = capsys.readouterr().out
        assert f"test loss {result['test_loss']:.4f}  accuracy {result['test_acc']:.2f} %  (360 images)" in out
        assert out.endswith("result.json: the same, to the last bit\n")
    evaluate.main([str(tmp_path)])  # the cell: all its runs
    assert capsys.readouterr().out.count("the same, to the last bit") == 2


def test_a_difference_in_the_last_bit_is_told(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [directory] = trained(compose_config(), tmp_path, 0)
    result = read_json(directory / "result.json")
    results.write(directory, result | {"test_loss": result["test_loss"] * (1 + 1e-15)})
    with pytest.raises(UserError, match=r"seed=0: result\.json does not say the same$"):
        evaluate.main([str(directory)])
    assert re.search(r"^result\.json: loss \S+, accuracy \S+; here \S+, \S+$", capsys.readouterr().out, re.MULTILINE)


def test_with_overrides_the_numbers_are_compared_up_to_rounding(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Batches of another size are summed in another order, which on some processors gives the same bits: hence a last digit."""
    [directory] = trained(compose_config(), tmp_path, 0)
    result = read_json(directory / "result.json")
    results.write(directory, result | {"test_loss": result["test_loss"] * (1 + 1e-9)})
    evaluate.main([str(directory), "trainer.eval_batch_size=7"])
    assert capsys.readouterr().out.endswith("result.json: the same up to rounding\n")
    write_json(directory / "result.json", result)
    evaluate.main([str(directory), "device=cpu"])
    assert capsys.readouterr().out.endswith("result.json: the same, to the last bit\n")
    loss, accuracy = result["test_loss"], result["test_acc"]
    for worse in ({"test_loss": loss * 1.0001}, {"test_acc": accuracy - 200 / 360}, {"test_loss": None}):
        results.write(directory, result | worse)
        assert refused(directory, "trainer.eval_batch_size=7").endswith("seed=0: result.json does not say the same")
    results.write(directory, result | {"test_acc": accuracy - 100 / 360})
    evaluate.main([str(directory), "trainer.eval_batch_size=7"])  # an image between two classes
    assert refused(directory).endswith("seed=0: result.json does not say the same")


def test_images_may_lie_in_another_folder(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is part of the configuration's hash, and the weights are that configuration's."""
    here, there = tmp_path / "here", tmp_path / "2024_01"
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (here / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(here / name / f"{i}.png")
    cfg = compose_config("dataset=imagefolder", f"dataset.folder={here}", "dataset.resize=8")
    [directory] = trained(cfg, tmp_path / "cell", 0)
    shutil.move(here, there)
    assert "no such folder" in refused(directory)
    monkeypatch.chdir(tmp_path)
    evaluate.main([str(directory), "dataset.folder=2024_01"])
    assert capsys.readouterr().out.endswith("result.json: the same, to the last bit\n")


@pytest.mark.parametrize(("part", "words"), [("test", "tested on"), ("train", "trained on")])
def test_other_images_than_those_of_the_run_are_told(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, words: str
) -> None:
    rng = np.random.default_rng(0)
    for path in [tmp_path / "images" / p / c / f"{i}.png" for p in ("train", "test") for c in ("cat", "dog") for i in range(8)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    cfg = compose_config("dataset=imagefolder", f"dataset.folder={tmp_path}/images", "dataset.resize=8", "dataset.val_size=4")
    [directory] = trained(cfg, tmp_path / "cell", 0)
    changed = tmp_path / "images" / part / "cat" / "0.png"
    Image.open(changed).rotate(180).save(changed)
    assert refused(directory).endswith("seed=0: result.json does not say the same")
    said = capsys.readouterr().out
    assert said.endswith(f"result.json: {words} other images than there are now, so the numbers do not compare\n")
    result = read_json(directory / "result.json")
    write_json(directory / "result.json", {key: value for key, value in result.items() if key not in ("data", "test_data")})
    with suppress(UserError):  # the numbers may differ; what they were measured on is not known to
        evaluate.main([str(directory)])
    assert "other images" not in capsys.readouterr().out


def test_a_run_of_a_folder_that_was_spelled_otherwise_is_tested(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Earlier versions took imgs/ for another folder than imgs, and hashed it so."""
    [directory] = trained(compose_config(), tmp_path, 0)
    note = read_json(directory / "config.json")
    note["config"]["dataset"]["folder"] = "imgs/"
    note["hash"] = cells.digest(note["config"])
    write_json(directory / "config.json", note)
    path = directory / "checkpoints" / "best.pt"
    state = {key: value for key, value in checkpoint.load(path).items() if key != "format"}
    checkpoint.save(path, state | {"hash": cells.digest(note["config"])})
    results.write(directory, read_json(directory / "result.json") | {"hash": cells.digest(note["config"])})
    evaluate.main([str(directory)])
    assert capsys.readouterr().out.endswith("result.json: the same, to the last bit\n")


def test_a_checkpoint_is_found_from_its_own_folder_and_tested_with_the_threads_of_its_run(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [directory] = trained(compose_config("trainer.num_threads=auto"), tmp_path, 0)
    result = read_json(directory / "result.json")
    assert result["num_threads"] == 1
    results.write(directory, result | {"num_threads": 2})
    threads: list[int] = []
    monkeypatch.setattr(evaluate, "set_threads", lambda number, model: threads.append(number))
    monkeypatch.chdir(directory / "checkpoints")
    evaluate.main(["last.pt"])
    evaluate.main(["last.pt", "trainer.num_threads=3"])
    assert threads == [2, 3]


def test_classes_and_confusion_count_every_test_image(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config()
    [directory] = trained(cfg, tmp_path, 0)
    tested = evaluate.test(cfg, checkpoint.load(directory / "checkpoints" / "best.pt")["model"], "auto")
    labels = datasets.load(cfg.dataset, train=False).labels
    assert torch.equal(tested.confusion.sum(1), torch.bincount(labels, minlength=10))
    assert 100 * tested.confusion.trace().item() / 360 == pytest.approx(tested.accuracy)
    hand = evaluate.Tested(0.5, 75.0, torch.tensor([[3, 1], [0, 0]]), ["cat", "dog"])
    assert evaluate.text(hand).splitlines() == [
        "test loss 0.5000  accuracy 75.00 %  (4 images)",
        "class  accuracy  cat  dog",
        "cat     75.00 %    3    1",
        "dog           –    .    .",
    ]


def test_any_checkpoint_can_be_tested(compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [directory] = trained(compose_config("trainer.save_every=1"), tmp_path, 4)
    evaluate.main([str(directory / "checkpoints" / "epoch_1.pt"), "device=cpu", "trainer.eval_batch_size=10"])
    out = capsys.readouterr().out
    assert out.startswith(f"{directory}/checkpoints/epoch_1.pt: epoch 1, seed 4\n")
    assert "result.json" not in out


def refused(*arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        evaluate.main([str(argument) for argument in arguments])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_tested_is_one_line(compose_config: Compose, tmp_path: Path) -> None:
    [directory] = trained(compose_config(), tmp_path, 0)
    assert refused() == "python -m labs.evaluate: name a run directory, …/seed=<s>, or a checkpoint"
    assert "no checkpoints/best.pt" in refused(tmp_path / "seed=9")
    assert refused(directory, "model.depth=3").startswith("model.depth=3: cannot differ from what was trained; only device, ")
    assert refused(directory, "trainer.eval_batch_size=0").endswith("=0: must be an integer from 1 to 2147483647")
    assert "metrics.jsonl: not a readable checkpoint (File is not a zip file)" in refused(directory / "metrics.jsonl")

    assert refused(directory, "device=") == "device=: needs a value; leave it out for the one of the run"
    assert refused(directory, "dataset.data_dir=null").startswith("dataset.data_dir=null: needs a value")
    assert refused(directory, "dataset.folder=x").endswith("seed=0 was not trained on a folder of images; leave it out")

    note = json.loads((directory / "config.json").read_text())
    honest = note["config"] | {}
    marker = tmp_path / "made"
    for target in ("os.mkdir", "pathlib.Path", "no.such.thing"):
        note["config"]["model"] = {"_target_": target, "path": str(marker), "name": "x"}
        write_json(directory / "config.json", note)
        assert f"model._target_={target}: " in refused(directory)
    assert not marker.exists()
    for key in ("device", "study"):
        write_json(directory / "config.json", note | {"config": honest | {key: 5}})
        assert re.match(f"{key}=5: (must be|is text)", refused(directory))
    (directory / "config.json").write_text("{")
    assert refused(directory).endswith("without it nobody knows which network the weights belong to")


def test_what_refers_to_another_place_of_a_foreign_configuration_is_not_followed(
    compose_config: Compose, tmp_path: Path
) -> None:
    """Hydra would, and would call what it finds there, in place of what was looked at."""
    [directory] = trained(compose_config(), tmp_path, 0)
    note = json.loads((directory / "config.json").read_text())
    marker = tmp_path / "made"
    evil = {"_target_": "os.mkdir", "path": str(marker)}
    honest = note["config"]
    for changed in (
        {"dataset": honest["dataset"] | {"name": evil}, "model": honest["model"] | {"name": "${dataset.name}"}},
        {"study": evil, "model": honest["model"] | {"name": "${study}"}},
        {"model": honest["model"] | {"more": [{"deep": "${oc.env:HOME}"}]}},
        {"model": honest["model"] | {"${study}": 1}},
    ):
        write_json(directory / "config.json", note | {"config": honest | changed})
        assert re.search(r"config\.json: holds '\$\{\S+\}'; a run writes values only, and", refused(directory))
    assert not marker.exists()


def test_a_run_from_before_there_was_a_choice_of_axes_and_of_diagnostics_is_tested_too(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [directory] = trained(compose_config(), tmp_path, 0)
    note = read_json(directory / "config.json")
    del note["config"]["analysis"], note["config"]["diagnostics"]
    write_json(directory / "config.json", note)
    evaluate.main([str(directory)])
    assert capsys.readouterr().out.endswith("result.json: the same, to the last bit\n")
