"""What stops a sweep before its first job, in one line that names the key."""

import re

import pytest
from forked import Project
from sweeping import QUICK


def test_a_number_in_a_file_where_text_belongs_is_refused(project: Project) -> None:
    (project.folder / "more" / "experiment").mkdir(parents=True)
    (project.folder / "more" / "experiment" / "mine.yaml").write_text("# @package _global_\nstudy: 2026_11_25\n")
    for mode in (["experiment=mine"], ["-m", "experiment=mine", "seed=1,2"]):
        ended = project.train("--config-dir", "more", *mode)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == (
            "error: study=20261125: is text, and was read as a number; put it in quotes, "
            'study=\'"…"\' on the command line, study: "…" in a file\n'
        )


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["dataset.val_size=100,1436"], "error: dataset.val_size=1436: 1436 of the 1437 images; must be from 10, "
                                        "as many as there are classes, to 1435, which leaves two to train on"),
        (["model.depth=1,2", "device=cuda:99"], r"error: device=cuda:99: torch finds \d CUDA devices here; set device=cpu or "
                                                r"device=auto"),
        (["model=cnn", "model.filters=[8,8],[8,8,8,8,8]"], r"error: model.filters=\[8, 8, 8, 8, 8\]: 4 max-pools leave nothing "
                                                           "of 8x8 pixels; give at most 4 filter counts"),
        (["model.depth=1,2", "+optimizer.beta=1"], "error: optimizer.beta: torch.optim.Adam takes no beta; it takes lr, .*"),
        (["model.depth=1,2", "+scheduler.gamma=1"], "error: scheduler.gamma: .*ReduceLROnPlateau takes no gamma; .*"),
        (["model.depth=1,2", "optimizer._target_=torch.optim.Adma"], "error: optimizer._target_=torch.optim.Adma: .*"),
    ],
)  # fmt: skip
def test_what_a_later_job_would_stumble_over_stops_the_first(project: Project, overrides: list[str], line: str) -> None:
    ended = project.train("-m", *overrides, "study=x", *QUICK)
    assert re.fullmatch(line + "\n", ended.err)
    assert ended.out == ""
    assert ended.code == 1
    assert project.written() == []


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["hydra.run.dir=out/${nope}"], "hydra.run.dir: Interpolation key 'nope' not found"),
        (["-m", "hydra.sweep.dir=out/${nope}"], "hydra.sweep.dir: Interpolation key 'nope' not found"),
        (["-m", "study=${nope}", "seed=0,1"], "study: Interpolation key 'nope' not found"),
        (["-m", "seed=0,1", "~optimizer.betas"], "optimizer.betas: cannot be removed, as the keys of optimizer=adam are fixed"),
        (["-m", "experiment=mnist_mlp,null"], "experiment=null: no such option; there is cifar10_cnn, depth_study, "),
        (["~seed"], "seed: cannot be removed; give it another value, seed=…"),
        (["-m", "model=any/target", "model._target_=ends.Net", "seed=0,1"],
         "model._target_=ends.Net: ends the program, by SystemExit: bye"),
        (["model=any/target", "model._target_=ends.nowhere"], "model._target_=ends.nowhere: cannot be imported ("),
        (["model=any/target", "model._target_=ends_at_once.Net"],
         "model._target_=ends_at_once.Net: cannot be imported (ends the program, by SystemExit: 5)"),
    ],
)  # fmt: skip
def test_what_cannot_start_is_one_line_that_names_its_key(project: Project, overrides: list[str], line: str) -> None:
    (project.folder / "ends.py").write_text("def Net(input_shape, num_classes):\n    raise SystemExit('bye')\n")
    (project.folder / "ends_at_once.py").write_text("raise SystemExit(5)\n")
    ended = project.train(*overrides)
    assert ended.err.startswith(f"error: {line}")
    assert ended.err.count("\n") == 1
    assert (ended.code, ended.out) == (1, "")
