"""`python -m labs.lesion`: what it prints and writes of a trained network."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from networks import own
from noted import trained
from omegaconf import DictConfig

from labs import lesion
from labs.errors import UserError
from labs.files import read_json
from run_contract import gradient_shares

Compose = Callable[..., DictConfig]


def test_a_table_is_printed_and_written(compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = trained(compose_config("model.residual=true", "model.depth=11"), tmp_path, 0, 1)
    lesion.main([str(tmp_path)])  # the cell: all its runs
    out = capsys.readouterr().out
    for run in runs:
        content, result = read_json(run / "lesions.json"), read_json(run / "result.json")
        assert (content["hash"], content["epoch"], content["images"]) == (result["hash"], result["best_epoch"], 360)
        assert content["test_acc"] == pytest.approx(result["test_acc"])
        assert len([entry for entry in content["lesions"] if entry["kind"] == "one"]) == 5
        assert f"the whole network              {result['test_acc']:6.2f} %  (360 images)\n" in out
    assert out.count("without blocks.0                    –  cannot be removed: reads 128 and returns 32\n") == 2
    assert out.count("random sets)") == 4  # of 1 and of 2 blocks; all 4 can be chosen in one way
    lines = out.splitlines()
    assert lines[0] == f"{runs[0]}/checkpoints/best.pt: epoch {read_json(runs[0] / 'result.json')['best_epoch']}"
    assert any(line.startswith("swapped blocks.2 and blocks.3  ") for line in lines)
    again = (runs[0] / "lesions.json").read_bytes()
    lesion.main([str(runs[0])])
    assert (runs[0] / "lesions.json").read_bytes() == again
    lesion.main([str(runs[0]), "--seed", "3"])
    assert read_json(runs[0] / "lesions.json")["draws_seed"] == 3


def test_of_pre_activation_networks_the_gradient_is_told_by_length_of_path(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [run] = trained(compose_config("model.residual=true", "model.block=pre", "model.depth=11"), tmp_path / "pre", 0)
    lesion.main([str(run)])
    lengths = read_json(run / "lesions.json")["paths"]
    assert [(length["branches"], length["paths"], length["drawn"]) for length in lengths] == [
        (0, 1, 1), (1, 4, 4), (2, 6, 6), (3, 4, 4), (4, 1, 1),
    ]  # fmt: skip
    shares = gradient_shares(lengths)
    assert sum(shares) == pytest.approx(100)
    whole = sum(length["norm"] * length["paths"] for length in lengths)
    assert shares[1] == pytest.approx(100 * lengths[1]["norm"] * 4 / whole)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("paths through 1 branch "))
    assert line.split()[4:] == [f"{shares[1]:.2f}", "%", "of", "the", "gradient,", "by", "4", "paths"]
    [run] = trained(compose_config("model.residual=true", "model.depth=11"), tmp_path / "post", 0)
    lesion.main([str(run)])
    assert read_json(run / "lesions.json")["paths"] == []
    assert "paths through" not in capsys.readouterr().out


def test_what_cannot_be_tested_is_one_line(compose_config: Compose, tmp_path: Path) -> None:
    [run] = trained(own(compose_config), tmp_path / "own", 0)
    for arguments, said in (
        ([], "python -m labs.lesion: name a run directory, …/seed=<s>"),
        ([str(tmp_path / "nothing")], "no checkpoints/best.pt in it"),
        ([str(run)], "the network has no block of labs/models/blocks.py in it, so there is nothing to remove"),
        ([str(run), "model.depth=3"], "model.depth=3: cannot differ from what was trained"),
    ):
        with pytest.raises(UserError) as caught:
            lesion.main(arguments)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (run / "lesions.json").exists()


def test_of_a_study_the_paths_that_work_are_told(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell takes them, also where a name needs quotes and a run has no weights."""
    study = tmp_path / "my study"
    [run] = trained(compose_config("model.width=8"), study / "cell", 0)
    (study / "cell" / "seed=1").mkdir()
    with pytest.raises(UserError, match=r"; all runs of this study are \S.*best\.pt$") as caught:
        lesion.main([str(study)])
    paths = str(caught.value).partition("; all runs of this study are ")[2]
    expanded = subprocess.run(["sh", "-c", f"printf '%s\n' {paths}"], capture_output=True, text=True, check=True)
    lesion.main(expanded.stdout.splitlines())
    assert capsys.readouterr().out.count("the whole network") == 1
    assert (run / "lesions.json").exists()
