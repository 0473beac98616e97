"""The images that a run reads: all are recorded, and those that come while it trains are never tested."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from breaking_off import train
from omegaconf import DictConfig

from labs.cells import Cell
from labs.data import datasets
from labs.data.imagefolder import ImageFolder
from labs.errors import UserError
from labs.jobs import preflight
from labs.training import run

Compose = Callable[..., DictConfig]


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
        test_images = {path for path, _ in ImageFolder(cfg.dataset).parts()[1]}
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
    run.train(Cell.of(cfg, tmp_path / "cell"), [0, 1], show_progress=show_progress)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    lines = [line for line in said if str(pictures) in line[1]]
    assert len(lines) == 1
    assert lines[0][1].endswith("3 classes (cat, dog, eel); 1 file skipped: 1 of type .txt")
    level = "WARNING" if show_progress else "INFO"
    assert [line[0] for line in said if "class eel (1 for training): too rare for dataset.test_fraction=0.2" in line[1]] == [
        level
    ]

    capsys.readouterr()
    preflight.check_data([compose_config(*reading(pictures), f"seed={seed}") for seed in range(3)])
    assert capsys.readouterr().out.count("1 of type .txt") == 1
