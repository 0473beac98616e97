"""A search: the best mean over replicas, gone on with where it was, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import environment, need, train

pytestmark = pytest.mark.launchers
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "study=s", "trainer=smoke", "logger=none"]
RATES = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
DECAY = "optimizer.weight_decay=interval(0,0.1)"


@pytest.fixture
def search(home: Path, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    need("optuna", "optuna")
    return lambda *arguments: train(tmp_path, *SEARCH, *arguments, env=environment(home))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_search_finds_the_best_mean_over_replicas_and_goes_on_where_it_was(
    search: Callable[..., Any], tmp_path: Path
) -> None:
    code, out, err = search(RATES, DECAY, "replicas=2")
    assert (code, err) == (0, "")
    found = read(tmp_path / "multirun/s/search.json")
    for trial in found["trials"]:
        results = [read(file)["val_acc"] for file in tmp_path.glob(f"multirun/s/{trial['dir']}/seed=*/result.json")]
        assert len(results) == 2
        assert trial["val_acc"] == sum(results) / 2
        values = dict(text.split("=") for text in trial["overrides"])
        config = read(tmp_path / "multirun/s" / trial["dir"] / "seed=1/config.json")["config"]["optimizer"]
        assert (float(values["optimizer.lr"]), float(values["optimizer.weight_decay"])) == (
            config["lr"],
            config["weight_decay"],
        )
        assert 1e-4 <= config["lr"] <= 0.1
    assert len({trial["dir"] for trial in found["trials"]}) == 4
    assert found["best"]["val_acc"] == max(trial["val_acc"] for trial in found["trials"])
    assert f"best  {' '.join(found['best']['overrides'])}  validation accuracy" in out

    runs = {file: file.stat().st_mtime_ns for file in tmp_path.glob("multirun/s/*/seed=*/result.json")}
    code, out, _ = search(RATES, DECAY, "replicas=2", "hydra.sweeper.n_trials=5")
    assert code == 0
    assert read(tmp_path / "multirun/s/search.json")["trials"][:4] == found["trials"]
    assert {file: file.stat().st_mtime_ns for file in runs} == runs
    assert len(list(tmp_path.glob("multirun/s/*/seed=*/result.json"))) == 10


def test_a_search_outlives_trials_that_diverge_and_works_in_parallel(search: Callable[..., Any], tmp_path: Path) -> None:
    rates = "optimizer.lr=0.001,1e30"
    code, out, err = search(rates, "hydra/launcher=joblib", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=6")
    assert (code, err) == (0, "")
    trials = read(tmp_path / "multirun/s/search.json")["trials"]
    assert {(trial["overrides"][0], trial["val_acc"] is None) for trial in trials} == {
        ("optimizer.lr=0.001", False),
        ("optimizer.lr=1e+30", True),
    }
    assert "optimizer.lr=1e+30  diverged\n" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "hydra/sweeper=optuna: there is nothing to search; for example optimizer.lr='tag(log,interval(1e-4,0.1))'"),
        ([RATES, "seed=0,1"], "seed=0,1: is not for a search; replicas=3 makes it compare means over three seeds"),
        (["optimizer.lr=interval(1,0)"], "optimizer.lr=interval(1,0): `low <= high` must hold, but got (low=1.0, high=0.0)."),
        ([RATES, "plan=true"], "plan=true: the jobs of a search are not known before it runs"),
        (["optimizer.lr=-1,-2"], "optimizer.lr=-2.0: must be a finite number above 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(
    search: Callable[..., Any], tmp_path: Path, arguments: list[str], line: str
) -> None:
    code, _, err = search(*arguments)
    assert (code, err) == (1, f"error: {line}\n")
    assert not list(tmp_path.glob("multirun/s/*/seed=*"))
