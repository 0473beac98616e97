"""`python -m multirun_analysis` says in one line what it cannot do, and why."""

import subprocess
import sys

import pytest
from synthetic import write_study

from multirun_analysis import archive
from multirun_analysis.__main__ import main


class TestBadInput:
    def one_line(self, capsys):
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    def test_no_runs(self, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        assert main([str(tmp_path)]) == 1
        assert self.one_line(capsys).startswith(f"error: no runs found in {tmp_path}: a run is a seed=<s> folder")

    def test_no_such_folder(self, tmp_path, capsys):
        assert main([str(tmp_path / "nowhere")]) == 1
        assert self.one_line(capsys) == f"error: no such directory: {tmp_path / 'nowhere'}\n"

    def test_a_folder_that_cannot_be_written(self, tmp_path, capsys):
        study = write_study(tmp_path / "s", depths=[5], seeds=[0])
        (study / "report").write_text("a file is in the way")
        assert main([str(study)]) == 1
        assert self.one_line(capsys) == f"error: cannot write to {study / 'report'}: File exists; --out DIR writes elsewhere\n"

    @pytest.mark.one_in(2)
    @pytest.mark.parametrize("damage", ["missing", "columns", "bytes", "gzip"])
    def test_a_report_that_cannot_be_loaded(self, tmp_path, capsys, no_figures, damage):
        study = write_study(tmp_path / "s", depths=[5], seeds=[0])
        main([str(study)])
        capsys.readouterr()
        report = study / "report"
        match damage:
            case "missing":
                (report / "epochs.csv").unlink()
            case "columns":
                (report / "runs.csv").write_text("a,b\n1,2\n")
            case "bytes":
                (report / "runs.csv").write_bytes(b"\xff\xfe\x00,\n\x81")
            case "gzip":
                (report / "layers.csv.gz").write_bytes(b"not gzip")
        assert main(["--load", str(report)]) == 1
        assert self.one_line(capsys).startswith(f"error: cannot load {report}: ")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "give either run folders or --load REPORT_DIR"),
            (["a", "--load", "b"], "give either run folders or --load REPORT_DIR"),
            (["a", "b"], "several folders make one report: say where with --out DIR"),
            (["--load", "a", "--status"], "--status takes run folders only"),
        ],
    )
    def test_wrong_usage(self, capsys, arguments, said):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        assert error.value.code == 2
        assert said in capsys.readouterr().err

    def test_a_damaged_plan_is_a_warning(self, tmp_path, capsys, no_figures):
        study = write_study(tmp_path / "s", depths=[5], seeds=[0])
        (study / "study.json").write_text("{")
        assert main([str(study)]) == 0
        assert capsys.readouterr().err == "warning: study.json is damaged; what is missing is unknown\n"
        assert "study.json is damaged" in (study / "report" / "summary.md").read_text()
        assert archive.load(study / "report").problems == ("study.json is damaged; what is missing is unknown",)
        (study / "study.json").unlink()
        assert main([str(study)]) == 0
        assert archive.load(study / "report").problems == ()

    def test_from_the_shell(self, tmp_path):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "multirun_analysis", str(tmp_path)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("arguments", [["{long}"], ["{study}", "{long}", "--status"], ["--load", "{long}"], ["${{nope}}"],
                                       ["{study}", "--out", "{long}"], ["--load", "{folders}"]])  # fmt: skip
def test_a_path_that_cannot_be_is_one_line(tmp_path, capsys, arguments):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    (tmp_path / "folders" / "runs.csv").mkdir(parents=True)
    names = {"long": "x" * 256, "study": study, "folders": tmp_path / "folders"}
    assert main([text.format(**names) for text in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    if "{folders}" in arguments:
        assert f"{tmp_path}/folders: runs.csv: Is a directory" in error
