"""A researcher: own images, loss and metric, a sweep along the loss that is interrupted, resumed and fails, and frames."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from fresh import Checkout, blocks, epochs, result

pytestmark = pytest.mark.slow
SWEEP = (
    "PYTHONPATH=. python train.py -m dataset=imagefolder dataset.folder=images dataset.resize=12 dataset.channels=1 "
    "dataset.augment=none dataset.val_size=24 trainer.batch_size=16 trainer.epochs=60 trainer.patience=null logger=none "
    "model.depth=3 loss=any/target loss._target_=my_package.focal optimizer.lr=0.001,0.01 +loss.gamma=1,3 "
    "'metrics=[{_target_: my_package.Recall, classes: 3}]' analysis.x=loss.gamma analysis.hue=optimizer.lr study=focal"
)
FAULT = """
calls = 0
sound = focal


def focal(logits, labels, gamma=2.0):
    global calls
    calls += gamma == 3
    if gamma == 3 and calls > 200:
        raise ValueError("no such weight")
    return sound(logits, labels, gamma)
"""
DRAW = """
from pathlib import Path
import numpy as np
from PIL import Image

random = np.random.default_rng(0)
for label, name in enumerate(["flat", "lying", "standing"]):
    Path("images", name).mkdir(parents=True)
    for number in range(60):
        picture = random.integers(0, 160, (12, 12), dtype=np.uint8)
        picture[:: 2 if label == 1 else 99, :: 2 if label == 2 else 99] += 90
        Image.fromarray(picture).save(Path("images", name, f"{number}.png"))
"""
FRAMES = """
from multirun_analysis import load

study = load("multirun/focal")
runs = study.runs
print(len(runs), *(sorted(set(runs[f"config.{key}"].tolist())) for key in ("loss.gamma", "optimizer.lr")))
print({int(gamma): int(count) for gamma, count in runs.groupby("config.loss.gamma")["test_recall"].count().items()})
print(study.epochs.groupby("run")["epoch"].max().to_list())
cells = study.along(x="loss.gamma", hue="optimizer.lr", metric="test_recall").cells()
print(len(cells), int(cells["n"].sum()))
study.along(x="loss.gamma", hue="optimizer.lr").figure("test_accuracies").savefig("gamma.png")
print(*runs.sort_values("path")["test_acc"].round(6))
"""


def test_a_researcher_sweeps_over_a_loss_of_their_own(another: Callable[[], Checkout]) -> None:
    here = another()
    here.python(DRAW)
    parts = [text for _, text in blocks("docs/extending.md") if re.search("^def focal|^class Recall", text, re.MULTILINE)]
    own = "\n\n".join(parts)
    package = here.folder / "my_package.py"
    package.write_text(own + FAULT, encoding="utf-8")

    interrupted(here)
    again = goes_on_and_fails(here)
    package.write_text(own, encoding="utf-8")
    for command in again:
        assert "test loss" in here.typed(f"PYTHONPATH=. {command}")
    assert "multirun/focal: 4 jobs, 4 finished already, 0 to run\n" in here.typed(SWEEP)

    the_same_as_undisturbed(here)
    the_frames(here)
    the_command_of_a_run(here)
    assert {line.split()[1] for line in here.changed().splitlines()} == {"images/", "my_package.py", "gamma.png", "alone/"}


def interrupted(here: Checkout) -> None:
    process = here.start(f"exec env {SWEEP}")
    while not any(path.read_bytes().count(b"\n") > 5 for path in here.folder.glob("multirun/focal/*/seed=0/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, out + err
    done = [run for run in here.runs("focal") if (run / "result.json").exists() and result(run)["status"] == "done"]
    assert done == []


def goes_on_and_fails(here: Checkout) -> list[str]:
    """Returns the commands of the jobs that failed."""
    ended = here.ended(SWEEP)
    assert ended.code == 1, ended.out + ended.err
    assert "multirun/focal: 4 jobs, 0 finished already, 4 to run\n" in ended.out
    assert re.search(r"^done: 2  failed: 2$", ended.out, re.MULTILINE)
    assert len(re.findall(r"^failed  .*gamma=3.*no such weight", ended.out, re.MULTILINE)) == 2
    again = re.findall(r"^ +again: (python train\.py .*)$", ended.out, re.MULTILINE)
    assert len(again) == 2
    assert all("loss.gamma=3" in command for command in again)
    logs = [log.read_text(encoding="utf-8") for log in here.folder.glob("multirun/focal/*/train.log")]
    assert sum("resuming after epoch" in log for log in logs) == 1  # the job that was interrupted
    return again


def the_same_as_undisturbed(here: Checkout) -> None:
    """A run that was interrupted and one that failed end as they would have without that."""
    for rate, gamma in ((0.001, 1), (0.001, 3)):
        [run] = [run for run in here.runs("focal") if settings(run) == (rate, gamma)]
        single = SWEEP.replace(" -m ", " ").replace("optimizer.lr=0.001,0.01", f"optimizer.lr={rate}")
        single = single.replace("+loss.gamma=1,3", f"+loss.gamma={gamma}").replace(" study=focal", "")
        here.typed(f"{single} hydra.run.dir=alone/{gamma}")
        alone = here.folder / "alone" / str(gamma) / "seed=0"
        assert epochs(run) == epochs(alone)
        assert [row["epoch"] for row in epochs(run)] == list(range(1, 61))
        for field in ("hash", "test_acc", "test_loss", "metrics", "best_epoch"):
            assert result(run)[field] == result(alone)[field]
        assert result(run)["num_classes"] == 3
        assert result(run)["test_acc"] > 60  # chance is a third


def settings(run: Path) -> tuple[float, float]:
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))["config"]
    return config["optimizer"]["lr"], config["loss"]["gamma"]


def the_frames(here: Checkout) -> None:
    printed = here.python(FRAMES).splitlines()
    assert printed[0] == "4 [1, 3] [0.001, 0.01]"
    assert printed[1] == "{1: 2, 3: 2}"
    assert printed[2] == "[60, 60, 60, 60]"
    assert printed[3] == "4 4"
    expected = sorted(round(result(run)["test_acc"], 6) for run in here.runs("focal"))
    assert sorted(float(number) for number in printed[4].split()) == pytest.approx(expected, abs=1e-6)
    assert (here.folder / "gamma.png").read_bytes().startswith(b"\x89PNG")


def the_command_of_a_run(here: Checkout) -> None:
    """It trains this run alone, in the same directory: a finished one is left as it is, and one that is gone comes back."""
    run = here.runs("focal")[0]
    command = json.loads((run / "config.json").read_text(encoding="utf-8"))["command"]
    before, numbers = (run / "result.json").stat().st_mtime_ns, result(run)
    assert "nothing to do" in here.typed(f"PYTHONPATH=. {command}")
    assert (run / "result.json").stat().st_mtime_ns == before
    for file in sorted(run.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    run.rmdir()
    here.typed(f"PYTHONPATH=. {command}")
    assert result(run)["test_loss"] == numbers["test_loss"]
