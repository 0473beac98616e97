"""Single run directories: what is damaged is noted and the rest is used, and a command is shown only for its own run."""

import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from synthetic import write_run

from multirun_analysis.collect import collect
from multirun_analysis.result import checksum
from multirun_analysis.rundir import read_run


def only(frames):
    assert len(frames.runs) == 1
    return frames.runs.iloc[0]


class TestDamage:
    def test_a_truncated_last_line_costs_that_line_only(self, tmp_path):
        run = write_run(tmp_path / "s", status=None)
        for name in ("metrics.jsonl", "layers.jsonl"):
            path = run / name
            path.write_bytes(path.read_bytes()[:-30])
        frames = collect([tmp_path])
        assert frames.epochs["epoch"].tolist() == [1, 2, 3]
        assert sorted(frames.layers["epoch"].unique()) == [0, 1, 2, 3]
        row = only(frames)
        assert (row["status"], row["counted"]) == ("interrupted", False)
        assert "metrics.jsonl: the last line is truncated" in row["note"]
        assert "layers.jsonl: the last line is truncated" in row["note"]

    def test_a_damaged_line_in_the_middle_is_named(self, tmp_path):
        path = write_run(tmp_path / "s") / "metrics.jsonl"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], "{]", *lines[2:]]))
        frames = collect([tmp_path])
        assert frames.epochs["epoch"].tolist() == [1, 3, 4]
        assert "metrics.jsonl: line 2 is damaged; metrics.jsonl holds 3 of 4 epochs" in only(frames)["note"]

    def test_an_epoch_written_twice_counts_once(self, tmp_path):
        path = write_run(tmp_path / "s") / "metrics.jsonl"
        path.write_text(path.read_text() + '{"epoch": 2, "val_loss": 7.5}\n')
        frames = collect([tmp_path])
        assert frames.epochs["epoch"].tolist() == [1, 2, 3, 4]
        assert frames.epochs.set_index("epoch")["val_loss"][2] == 7.5
        assert "epoch 2 is there twice" in only(frames)["note"]

    @pytest.mark.parametrize(("number", "layer"), [("null", "null"), ("NaN", "NaN"), ("Infinity", "1e999")])
    def test_numbers_that_are_not_finite_are_missing(self, tmp_path, number, layer):
        run = write_run(tmp_path / "s", status="diverged", result={"val_loss": None})
        (run / "metrics.jsonl").write_text(f'{{"epoch": 1, "val_loss": {number}, "val_acc": 10.0}}\n')
        (run / "layers.jsonl").write_text(f'{{"epoch": 0, "grad_norm": [1.0, {layer}, 3.0, 1.0, 1.0, 1.0]}}\n')
        frames = collect([tmp_path])
        assert np.isnan(frames.epochs["val_loss"].item())
        assert frames.layers["grad_norm"].isna().tolist() == [False, True, False, False, False, False]
        assert np.isnan(only(frames)["val_loss"])

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"status": "done", "test_acc": 9', "result.json is damaged"),
            ("", "result.json is damaged"),
            ("[1, 2]", "not a JSON object"),
            ('{"status": "fine"}', "status 'fine' is none of"),
            ('{"status": "done", "test_acc": "98"}', "test_acc is not a number"),
            ('{"status": "done", "test_acc": 1e999}', "test_acc is not a number"),
            ('{"status": "done", "depth": 5.5}', "depth is not a count"),
            ('{"status": "done", "residual": "yes"}', "residual is not a bool"),
            ('{"status": "done", "seed": 3}', "is of seed 3, in the directory of seed 0"),
            ("[" * 100_000, "result.json is damaged"),
        ],
    )
    def test_a_corrupt_result_is_a_marked_row_without_numbers(self, tmp_path, content, said):
        run = write_run(tmp_path / "s")
        (run / "result.json").write_text(content)
        row = only(collect([tmp_path]))
        assert (row["status"], row["counted"], row["reason"]) == ("corrupt", False, "corrupt")
        assert said in row["note"]
        assert np.isnan(row["test_acc"])

    @pytest.mark.parametrize("file", ["result.json", "config.json", "metrics.jsonl", "layers.jsonl"])
    @pytest.mark.parametrize("content", [None, "[" * 100_000, '{"a":' * 300 + "1" + "}" * 300])
    def test_a_folder_or_a_deep_nest_in_place_of_a_file_is_a_note(self, tmp_path, file, content):
        path = write_run(tmp_path / "s") / file
        path.unlink()
        path.mkdir() if content is None else path.write_text(content)
        assert file in only(collect([tmp_path]))["note"]

    def test_best_weights_that_are_gone_are_told(self, tmp_path):
        run = write_run(tmp_path / "s")
        assert pd.isna(only(collect([tmp_path]))["note"])
        (run / "checkpoints" / "best.pt").unlink()
        row = only(collect([tmp_path]))
        assert row["note"] == "checkpoints/best.pt is gone, so the weights cannot be tested again"
        assert row["counted"]
        (run / "checkpoints").rmdir()
        row = only(collect([tmp_path]))
        assert row["note"] == "checkpoints/ is gone, so the weights cannot be tested again"
        assert row["counted"]

    @pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-200]), lambda path: path.unlink(),
                                        lambda path: path.write_text(path.read_text().replace("1", "2", 1))])  # fmt: skip
    @pytest.mark.parametrize(("file", "kept"), [("metrics.jsonl", "layers"), ("layers.jsonl", "epochs")])
    def test_no_line_is_taken_from_a_file_that_is_not_as_the_run_left_it(self, tmp_path, file, kept, damage):
        run = write_run(tmp_path / "s", sealed=True)
        whole = collect([tmp_path])
        assert pd.isna(only(whole)["note"])
        damage(run / file)
        frames = collect([tmp_path])
        left = "is not as the run left it" if (run / file).exists() else "is gone"
        assert only(frames)["note"] == f"{file} {left}, so no curve is drawn from it"
        assert only(frames)["counted"]
        assert only(frames)["test_acc"] == only(whole)["test_acc"]
        other = "epochs" if kept == "layers" else "layers"
        assert len(getattr(frames, other)) == 0
        assert getattr(frames, kept).equals(getattr(whole, kept))
        assert only(collect([tmp_path], with_layers=False))["note"] == only(frames)["note"]

    def test_a_killed_run_says_so(self, tmp_path):
        (write_run(tmp_path / "s", status=None) / ".lock").touch()
        row = only(collect([tmp_path]))
        assert (row["status"], row["note"]) == ("interrupted", "killed: it left no result.json")

    @pytest.mark.parametrize("content", ["{", "{}", "[1]", '{"seed": 0}', None])
    def test_a_result_without_the_config_json_it_belongs_to_is_corrupt(self, tmp_path, content):
        path = write_run(tmp_path / "s") / "config.json"
        path.unlink() if content is None else path.write_text(content)
        row = only(collect([tmp_path]))
        assert (row["status"], row["counted"], row["reason"]) == ("corrupt", False, "corrupt")
        assert "result.json: lies beside no config.json of a run, without which nobody knows what was trained" in row["note"]

    def test_layers_of_another_length_are_left_out_and_named(self, tmp_path):
        path = write_run(tmp_path / "s") / "layers.jsonl"
        path.write_text(path.read_text() + '{"epoch": 5, "grad_norm": [1.0]}\n')
        frames = collect([tmp_path])
        assert frames.layers["epoch"].max() == 4
        assert "epoch 5 does not have 6 layers" in only(frames)["note"]

    def test_control_characters_and_half_surrogates_do_not_stay(self, tmp_path):
        error = {"type": "ValueError", "message": "a\x00b\ud800c", "traceback": "line\n\ttwo"}
        write_run(tmp_path / "s", status="failed", error=error)
        row = only(collect([tmp_path]))
        assert row["error_message"] == "a\\x00b\\ud800c"
        assert row["error_traceback"] == "line\n\ttwo"

    @pytest.mark.parametrize("file", ["config.json", "result.json"])
    def test_another_configuration_than_the_directory_names_is_not_counted(self, tmp_path, file):
        run = write_run(tmp_path / "s")
        content = json.loads((run / file).read_text())
        (run / file).write_text(json.dumps(content | {"hash": "0123456789"}))
        row = only(collect([tmp_path]))
        assert (row["mismatch"], row["counted"]) == (True, False)
        assert row["reason"] == "its directory and files name different configurations"


class TestCommand:
    """The command that is printed beside a run trains that run, or there is none."""

    def test_a_copy_of_another_seed_has_none(self, tmp_path):
        run = write_run(tmp_path / "s", seed=0)
        assert only(collect([run]))["command"].endswith(" seed=0")
        shutil.copytree(run, other := run.with_name("seed=1"))
        assert pd.isna(only(collect([other]))["command"])
        (other / "result.json").unlink()
        assert pd.isna(only(collect([other]))["command"])
        (run / "result.json").unlink()
        assert only(collect([run]))["command"].endswith(" seed=0")

    def test_a_copy_of_another_cell_has_none(self, tmp_path):
        run, other = write_run(tmp_path / "s", depth=5), write_run(tmp_path / "s", depth=10, status=None)
        shutil.copy(run / "config.json", other)
        assert pd.isna(only(collect([other]))["command"])

    def test_a_copy_into_a_place_without_a_hash_has_none(self, tmp_path):
        run = write_run(tmp_path / "outputs", cell="18-40-22", study=None)
        note = json.loads((run / "config.json").read_text())
        note["command"] += " hydra.mode=RUN 'hydra.run.dir=\"outputs/18-40-22\"'"
        (run / "config.json").write_text(json.dumps(note))
        assert only(collect([run]))["command"] == note["command"]
        shutil.copytree(run.parent, other := tmp_path / "outputs" / "19-00-00")
        assert pd.isna(only(collect([other]))["command"])

    @pytest.mark.parametrize("entries", [{"command": "rm -r ."}, {"seed": 0}, {"command": ["python"]}])
    def test_a_changed_config_json_gives_none(self, tmp_path, entries):
        path = write_run(tmp_path / "s", seed=1, status=None) / "config.json"
        note = json.loads(path.read_text()) | {"format": 2}
        path.write_text(json.dumps(note | {"checksum": checksum(note)}))
        assert only(collect([tmp_path]))["command"] == note["command"]
        path.write_text(json.dumps(note | {"checksum": checksum(note)} | entries))
        assert pd.isna(only(collect([tmp_path]))["command"])

    @pytest.mark.parametrize("cell", ["a b", 'say "x"', "a\\b", "$x"])
    def test_a_quoted_directory_is_read(self, tmp_path, cell):
        run = write_run(tmp_path, cell=cell, status=None)
        note = json.loads((run / "config.json").read_text())
        note["command"] = "python train.py " + shlex.quote('hydra.run.dir="there/' + cell.replace('"', '\\"') + '"')
        (run / "config.json").write_text(json.dumps(note))
        assert only(collect([tmp_path]))["command"] == note["command"]


def test_reading_one_run_never_raises_on_arbitrary_bytes(tmp_path):
    rng = np.random.default_rng(0)
    run = write_run(tmp_path / "s")
    whole = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for _ in range(60):
        for path, content in whole.items():
            damaged = bytearray(content[: rng.integers(len(content) + 1)])
            for place in rng.integers(len(damaged), size=3) if damaged else []:
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
        assert read_run(run).status in ("done", "diverged", "failed", "interrupted", "corrupt")
