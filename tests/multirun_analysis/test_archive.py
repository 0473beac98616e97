"""The report's folder keeps what was read, whole or not at all."""

import gzip

import pandas as pd
import pytest
from synthetic import write_run, write_study

from multirun_analysis import archive
from multirun_analysis.__main__ import main
from multirun_analysis.collect import collect


def test_frames_survive_their_csvs(tmp_path, no_figures):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    write_run(study, 5, False, 1, status="diverged", optimizer__lr=1e-300, dataset__name="NA")
    write_run(study, 5, False, 2, status=None, study=None)
    frames = collect([study])
    main([str(study)])
    loaded = archive.load(study / "report")
    pd.testing.assert_frame_equal(loaded.runs, frames.runs)
    pd.testing.assert_frame_equal(loaded.epochs, frames.epochs)
    pd.testing.assert_frame_equal(
        loaded.layers.astype({"name": "str"}), frames.layers.astype({"name": "str"}), check_dtype=False, rtol=1e-5
    )


def test_layers_are_compressed_without_a_clock_time(tmp_path, no_figures):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    main([str(study)])
    compressed = (study / "report" / "layers.csv.gz").read_bytes()
    assert compressed[4:8] == b"\0\0\0\0"
    assert gzip.decompress(compressed).startswith(
        b"run,epoch,layer,name,fraction,grad_norm,weight_norm,update_ratio\n0,0,0,layers.0,"
    )


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "summary.md"
    target.write_text("old")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        archive.write_atomically(target, b"new content")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
