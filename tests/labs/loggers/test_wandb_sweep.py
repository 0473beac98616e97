"""Sweeps with W&B's real client, offline: read back by W&B's own reader, failures included."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig
from wandb_reader import environment, history, inspect, records, rows, transaction_log

from labs import config_checks
from labs.cells import Cell
from labs.errors import UserError
from labs.training import run, testing

ROOT = Path(__file__).parents[3]
Compose = Callable[..., DictConfig]


# ── a sweep as a user starts it ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, list[str]]]:
    """A port that stands for all of the network, and a list of who has called."""
    calls: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    calls.append(connection.recv(200).decode(errors="replace"))

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1], calls
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory, server: tuple[int, list[str]]) -> Path:
    """A folder in which a sweep was run with another home: two processes at once, two seeds in each."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "home").mkdir()
    address = f"http://127.0.0.1:{server[0]}"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "WANDB_BASE_URL"), address)
    for name in ("train.py", "conf"):
        (folder / name).symlink_to(ROOT / name)
    arguments = ["study=s", "model.depth=2,5", "model.residual=true", "replicas=2", "logger=all", "logger.artifact=true",
                 "trainer.epochs=3", "trainer.num_threads=1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "train.py", "-m", *arguments],
        cwd=folder, env=environment() | proxies | {"HOME": str(folder / "home"), "NO_PROXY": "", "no_proxy": ""},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "wandb" not in ended.stdout
    return folder


@pytest.mark.slow
def test_each_job_and_seed_is_a_run_of_its_own_that_equals_our_lines(sweeps: Path) -> None:
    directories = sorted((sweeps / "multirun").glob("*/*/seed=*"))
    assert len(directories) == 4
    seen = set()
    for directory in directories:
        told, result = inspect(directory), json.loads((directory / "result.json").read_text())
        assert history(directory) == rows(directory / "metrics.jsonl")
        assert (told["state"], told["exit_code"], told["project"]) == ("finished", 0, "depth-labs")
        assert told["name"] == f"mlp-digits-depth={result['depth']}-residual seed={result['seed']}"  # which tells all
        (started,) = records(directory, "run")
        assert (started["run_group"], started["job_type"]) == (directory.parents[1].name, "train")
        kind = "residual" if result["residual"] else "plain"
        assert set(told["tags"]) == {"mlp", "digits", kind, f"depth={result['depth']}"}
        expected = json.loads((directory / "config.json").read_text())["config"]
        ours = {"cell": directory.parent.name, "depth": result["depth"], "residual": result["residual"]}
        assert told["config"] == expected | ours
        same = ("test_loss", "test_acc", "status", "best_epoch", "epochs_run", "params", "mult_adds")
        assert {name: told["summary"][name] for name in same} == {name: result[name] for name in same}
        assert told["summary"]["flops"] == 2 * result["mult_adds"]
        assert told["summary"]["best_val_acc"] == result["val_acc"]
        folder = transaction_log(directory).parent / "files"
        assert (folder / "summary.txt").read_text() == (directory.parent / "summary.txt").read_text()
        seen.add(told["run_id"])
    assert len(seen) == len(directories)


@pytest.mark.slow
def test_gradients_by_layer_are_one_panel(sweeps: Path) -> None:
    (directory,) = (sweeps / "multirun" / "s").glob("*depth=5*/seed=1")
    first, *_, last = rows(directory / "layers.jsonl")
    summary = inspect(directory)["summary"]
    logged = {name for name in summary if not name.startswith("_")}
    assert {name for name in logged if name.startswith("layers/")} == {"layers/grad_norm_table"}
    assert len(logged) < 30
    table = json.loads((transaction_log(directory).parent / "files" / summary["layers/grad_norm_table"]["path"]).read_text())
    lines = {"at initialisation": first["grad_norm"], "epoch 3": last["grad_norm"]}
    expected = [[i, name, float(np.log10(norm))] for name, norms in lines.items() for i, norm in enumerate(norms)]
    assert [row[:2] for row in table["data"]] == [row[:2] for row in expected]
    assert [row[2] for row in table["data"]] == pytest.approx([row[2] for row in expected])
    ratio = first["grad_norm"][0] / first["grad_norm"][-1]
    assert summary["first_to_last_grad_norm_at_init"] == pytest.approx(ratio)


@pytest.mark.slow
def test_the_best_checkpoint_is_an_artifact_if_asked_for(sweeps: Path) -> None:
    directory = min((sweeps / "multirun" / "s").glob("*/seed=0"))
    model = {record["type"]: record for record in records(directory, "artifact")}["model"]
    (content,) = model["manifest"]["contents"]
    assert Path(content["local_path"]) == directory / "checkpoints" / "best.pt"
    assert set(model["aliases"]) == {"best", "latest"}


@pytest.mark.slow
def test_nothing_is_written_elsewhere_and_nobody_is_called(sweeps: Path, server: tuple[int, list[str]]) -> None:
    assert {path.name for path in sweeps.iterdir()} == {"home", "train.py", "conf", "multirun"}
    assert [path for path in (sweeps / "home").rglob("*") if "wandb" in path.name] == []
    assert server[1] == []


@pytest.mark.slow
def test_wandb_itself_finds_every_run_to_sync(sweeps: Path) -> None:
    found = [str(transaction_log(directory)) for directory in (sweeps / "multirun").glob("*/*/seed=*")]
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *found]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=sweeps)
    assert ended.returncode == 0
    assert "Would sync 4 run(s)" in ended.stderr + ended.stdout


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_failing_job_shows_as_failed_with_the_epochs_it_had(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("crash after training")

    monkeypatch.setattr(testing, "test_best", fail)
    with pytest.raises(RuntimeError, match="crash after training"):
        run.train(Cell.of(compose_config("logger=wandb"), tmp_path), [0, 1], show_progress=False)
    for seed in (0, 1):
        directory = tmp_path / f"seed={seed}"
        told = inspect(directory)
        assert (told["state"], told["exit_code"]) == ("failed", 1)
        assert history(directory) == rows(directory / "metrics.jsonl")
        assert "layers/grad_norm_table" in told["summary"]


@pytest.mark.parametrize(("mode", "reason"), [("online", "No API key configured"), ("shared", "")])
def test_what_cannot_start_fails_before_the_first_step(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, reason: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("HOME", str(tmp_path))  # no login there
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    cfg = compose_config("logger=all")
    if mode == "shared":
        with pytest.raises(UserError, match=r"^WANDB_MODE=shared: must be offline, online or disabled$"):
            config_checks.check(cfg)
    else:
        with pytest.raises(UserError, match=rf"^W&B did not start \({reason}.*\); logger=none trains without it$") as caught:
            run.train(Cell.of(cfg, tmp_path), [0, 1], show_progress=False)
        assert "\n" not in str(caught.value)
        assert (tmp_path / "seed=0" / "metrics.jsonl").read_text() == ""


DYING = """
import contextlib, logging, os, signal, subprocess, sys, time
from pathlib import Path
from hydra import compose, initialize_config_dir
from labs import cells, config, config_checks
from labs.cells import Cell
from labs.training import run
from labs.loggers.run_log import RunLog

def epoch(self, row):
    # Once: both seeds write through the one process, which may be there as a zombie or not at all when the second gets here.
    if row["epoch"] == 2 and (self.directory.parent.name, self.directory.name) == ("a", "seed=0"):
        core = wandb_core()
        os.kill(core, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # W&B has seen its end already
            os.waitid(os.P_PID, core, os.WEXITED | os.WNOWAIT)
    log_epoch(self, row)

def wandb_core():
    ends = time.monotonic() + 300
    while time.monotonic() < ends:
        command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())]
        children = subprocess.run(command, capture_output=True, text=True).stdout
        found = [int(line.split()[0]) for line in children.splitlines() if "wandb-core" in line and "<defunct>" not in line]
        if found:
            return found[0]
        time.sleep(0.05)
    sys.exit("no wandb-core")

log_epoch, RunLog.epoch = RunLog.epoch, epoch
logging.basicConfig(level="WARNING", stream=sys.stdout, format="%(message)s")
config.register()
cells.register()
with initialize_config_dir(os.getcwd() + "/conf", version_base="1.3"):
    cfg = compose("config", overrides=["logger=wandb", "trainer.epochs=4"])
for name in ("a", "b"):
    Path(sys.argv[1], name).mkdir()
    run.train(Cell.of(cfg, Path(sys.argv[1], name)), [0, 1], show_progress=False)
"""


@pytest.mark.slow
def test_wandb_dying_in_the_middle_is_one_warning_a_run_and_the_next_job_has_it_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"W&B failed \(.+\) and is off for the rest of this run", line) for line in lines)
    for directory in (tmp_path / "a" / "seed=0", tmp_path / "a" / "seed=1"):
        result = json.loads((directory / "result.json").read_text())
        assert (result["status"], result["epochs_run"]) == ("done", 4)
        assert len(rows(directory / "metrics.jsonl")) == 4
    assert inspect(tmp_path / "b" / "seed=1")["state"] == "finished"
