"""Run directories to frames: everything there is found as it is, whatever state it is in."""

import json
import shutil
import subprocess
import sys

import pytest
from synthetic import cell_name, config, write_plan, write_run, write_study

from multirun_analysis.collect import collect


def only(frames):
    assert len(frames.runs) == 1
    return frames.runs.iloc[0]


class TestWhole:
    def test_every_run_with_its_numbers(self, tmp_path):
        study = write_study(tmp_path / "depth_study", depths=[5, 20], seeds=range(2))
        frames = collect([study])
        assert len(frames.runs) == 8
        assert frames.runs["counted"].all()
        assert frames.runs["depth"].tolist() == [5] * 4 + [20] * 4
        assert frames.runs["residual"].tolist() == [False, False, True, True] * 2
        run = frames.runs.iloc[5]  # depth 20, plain, seed 1
        result = json.loads((study / run["path"] / "result.json").read_text())
        for key in ("test_acc", "val_loss", "params", "best_epoch", "seconds"):
            assert run[key] == result[key]
        assert run["config.optimizer.lr"] == "0.001"
        assert run["config.model.widths"] == "null"
        assert run["versions.torch"] == "2.15.0"
        assert run["command"].startswith("python train.py study=depth_study model.depth=20")

    def test_epochs_and_layers_are_those_of_the_files(self, tmp_path):
        study = write_study(tmp_path / "s", depths=[5], seeds=[3], arms=[True])
        frames = collect([study])
        lines = [json.loads(line) for line in (study / frames.runs["path"][0] / "metrics.jsonl").read_text().splitlines()]
        assert frames.epochs.drop(columns="run").to_dict("records") == lines
        records = [json.loads(line) for line in (study / frames.runs["path"][0] / "layers.jsonl").read_text().splitlines()]
        assert len(frames.layers) == 5 * 6  # epochs 0 to 4, five hidden layers and the head
        assert frames.layers["grad_norm"].tolist() == [norm for record in records for norm in record["grad_norm"]]
        assert frames.layers["fraction"][:6].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
        assert frames.layers["name"][:6].tolist() == ["layers.0", "layers.1", "layers.2", "layers.3", "layers.4", "head"]
        assert frames.layers.loc[frames.layers["epoch"] == 0, "update_ratio"].isna().all()

    def test_nets_of_different_depth_keep_their_own_layers(self, tmp_path):
        frames = collect([write_study(tmp_path / "s", depths=[5, 20], seeds=[0], arms=[False])])
        assert frames.layers.groupby("run")["layer"].max().tolist() == [5, 20]
        assert frames.layers.groupby("run")["fraction"].max().tolist() == [1, 1]

    def test_without_diagnostics_there_are_no_layers(self, tmp_path):
        run = write_run(tmp_path / "s")
        (run / "layers.jsonl").unlink()
        frames = collect([tmp_path])
        assert only(frames)["counted"]
        assert frames.layers.empty

    def test_nothing_is_written(self, tmp_path):
        study = write_study(tmp_path / "s", depths=[5], seeds=range(2))
        (write_run(study, 10, status=None) / ".lock").touch()
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        collect([study])
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    def test_neither_labs_nor_torch_is_imported(self):
        code = (
            "import sys, multirun_analysis.__main__, multirun_analysis.archive, multirun_analysis.status;"
            "print({'labs', 'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
        )
        assert (
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
        )


class TestPlaces:
    def test_outputs_and_multirun_folders_without_a_study(self, tmp_path):
        write_run(tmp_path / "outputs" / "2026-11-20", cell="18-40-22", study=None)
        write_run(tmp_path / "multirun" / "2026-11-20" / "18-45-00", seed=1, cell="0", study=None)
        frames = collect([tmp_path])
        assert frames.runs["cell"].tolist() == ["multirun/2026-11-20/18-45-00/0", "outputs/2026-11-20/18-40-22"]
        assert frames.runs["study"].isna().all()
        assert frames.runs["counted"].all()

    def test_a_single_run_and_a_single_cell(self, tmp_path):
        run = write_run(tmp_path / "s", seed=4)
        assert only(collect([run]))["path"] == "seed=4"
        assert only(collect([run.parent]))["cell"] == run.parent.name

    def test_checkpoints_and_reports_are_not_searched(self, tmp_path):
        run = write_run(tmp_path / "s")
        for name in ("checkpoints", "report", ".hydra", "tensorboard", "wandb", ".submitit"):
            shutil.copytree(run, tmp_path / "s" / name / "seed=1")
        assert only(collect([tmp_path]))["seed"] == 0

    def test_overlapping_folders_and_links_are_read_once(self, tmp_path):
        study = write_study(tmp_path / "s", depths=[5], seeds=[0, 1])
        (tmp_path / "link").symlink_to(study)
        (study / "loop").symlink_to(tmp_path)
        assert len(collect([tmp_path, study, tmp_path / "link"]).runs) == 4

    def test_where_the_study_lies_does_not_show(self, tmp_path):
        study = write_study(tmp_path / "a" / "s", depths=[5], seeds=[0])
        moved = shutil.copytree(study, tmp_path / "b" / "elsewhere" / "s")
        assert collect([study]).runs.equals(collect([moved]).runs)


def test_missing_seeds_are_not_described_by_the_files_of_another_cell(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0], arms=[False])
    write_plan(study, depths=[5, 10], seeds=[0, 1], arms=[False])
    other = study / cell_name(config(10)) / "seed=0"
    shutil.copytree(next(study.glob("*depth=5*/seed=0")), other)
    runs = collect([study]).runs
    assert runs.loc[runs["status"] == "missing", ["depth", "seed"]].to_numpy().tolist() == [[5, 1], [10, 1]]


def test_cell_names_of_the_factory_follow_the_contract():
    assert cell_name(config(5, True)).startswith("mlp-digits-depth=5-residual-")


def test_runs_on_different_images_are_told(tmp_path):
    for seed, data in enumerate(["00c0ffee", "00c0ffee", None]):
        write_run(tmp_path, 5, seed=seed, result={"data": data})
    assert not collect([tmp_path]).problems
    write_run(tmp_path, 5, seed=3, result={"data": "0badcafe"})
    (problem,) = collect([tmp_path]).problems
    assert (
        problem
        == "mlp on digits: its runs were trained on 2 different versions of the images, so their accuracies do not compare"
    )


def test_runs_tested_on_different_images_are_told(tmp_path):
    for seed, data in enumerate(["00c0ffee", "00c0ffee", None]):
        write_run(tmp_path, 5, seed=seed, result={"data": "feedc0de", "test_data": data})
    assert not collect([tmp_path]).problems
    write_run(tmp_path, 5, seed=3, result={"data": "feedc0de", "test_data": "0badcafe"})
    (problem,) = collect([tmp_path]).problems
    assert (
        problem
        == "mlp on digits: its runs were tested on 2 different versions of the images, so their accuracies do not compare"
    )
