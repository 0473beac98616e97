"""W&B with its real client, offline: read back by W&B's own reader, and watched for what it must not do."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from omegaconf import DictConfig, OmegaConf

from labs import config
from labs.cells import Cell
from labs.errors import UserError
from labs.loggers import wandb as wandb_mirror
from labs.loggers.mirror import RunInfo
from labs.loggers.run_log import RunLog
from labs.training import run

ROOT = Path(__file__).parents[3]
Compose = Callable[..., DictConfig]
LOGGER = OmegaConf.create({"tensorboard": False, "wandb": True, "project": "depth-labs", "artifact": False})
METRICS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "grad_norm", "seconds")
ROW = dict.fromkeys(METRICS, 0.5)


def info(seed: int = 0, place: str = "s") -> RunInfo:
    return RunInfo(
        cell="mlp-digits-depth=2-plain-0123456789", hash="0123456789", seed=seed, study="s", place=place,
        config={"model": {"name": "mlp"}, "dataset": {"name": "digits"}}, depth=2, residual=False,
        params=7, mult_adds=8, summary="Layer a\nLayer b",
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ── W&B's reader. Its command line is all there is to read a .wandb file with, and may change: it is called here alone ─────


def transaction_log(directory: Path) -> Path:
    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    return path


@cache
def leet(*arguments: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def inspect(directory: Path) -> dict[str, Any]:
    return json.loads(leet("--summary", str(transaction_log(directory))))


def records(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in leet(str(transaction_log(directory))).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def history(directory: Path) -> list[dict[str, Any]]:
    """Each epoch's numbers, under our names alone."""
    found = records(directory, "history")
    assert all(record["item"].get("epoch", record["step"]["num"]) == record["step"]["num"] for record in found)
    return [{name: value for name, value in record["item"].items() if name in METRICS} for record in found]


def environment() -> dict[str, str]:
    """That of a shell: without the mark by which a child of this process would write through this process's W&B."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}


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


def test_each_job_and_seed_is_a_run_of_its_own_that_equals_our_lines(sweeps: Path) -> None:
    directories = sorted((sweeps / "multirun").glob("*/*/seed=*"))
    assert len(directories) == 4
    seen = set()
    for directory in directories:
        told, result = inspect(directory), json.loads((directory / "result.json").read_text())
        assert history(directory) == rows(directory / "metrics.jsonl")
        assert (told["state"], told["exit_code"], told["project"]) == ("finished", 0, "depth-labs")
        assert told["name"] == f"{directory.parent.name} seed={result['seed']}"
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


def test_the_best_checkpoint_is_an_artifact_if_asked_for(sweeps: Path) -> None:
    directory = min((sweeps / "multirun" / "s").glob("*/seed=0"))
    model = {record["type"]: record for record in records(directory, "artifact")}["model"]
    (content,) = model["manifest"]["contents"]
    assert Path(content["local_path"]) == directory / "checkpoints" / "best.pt"
    assert set(model["aliases"]) == {"best", "latest"}


def test_nothing_is_written_elsewhere_and_nobody_is_called(sweeps: Path, server: tuple[int, list[str]]) -> None:
    assert {path.name for path in sweeps.iterdir()} == {"home", "train.py", "conf", "multirun"}
    assert [path for path in (sweeps / "home").rglob("*") if "wandb" in path.name] == []
    assert server[1] == []


def test_wandb_itself_finds_every_run_to_sync(sweeps: Path) -> None:
    found = [str(transaction_log(directory)) for directory in (sweeps / "multirun").glob("*/*/seed=*")]
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *found]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=sweeps)
    assert ended.returncode == 0
    assert "Would sync 4 run(s)" in ended.stderr + ended.stdout


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failing_job_shows_as_failed_with_the_epochs_it_had(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("crash after training")

    monkeypatch.setattr(run, "test_best", fail)
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
            config.check(cfg)
    else:
        with pytest.raises(UserError, match=rf"^W&B did not start \({reason}.*\); logger=none trains without it$") as caught:
            run.train(Cell.of(cfg, tmp_path), [0, 1], show_progress=False)
        assert "\n" not in str(caught.value)
        assert (tmp_path / "seed=0" / "metrics.jsonl").read_text() == ""


DYING = """
import contextlib, logging, os, signal, subprocess, sys, time
from pathlib import Path
from hydra import compose, initialize_config_dir
from labs import cells, config
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


# ── the mirror by itself ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_goes_on_is_the_same_run_with_all_its_epochs(tmp_path: Path) -> None:
    log = RunLog(tmp_path, LOGGER, info()).__enter__()
    for epoch in (1, 2, 3):
        log.epoch(ROW | {"epoch": epoch})
    log.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    before = inspect(tmp_path)
    assert before["state"] == "failed"
    with RunLog(tmp_path, LOGGER, info(), after=2) as log:
        log.epoch(ROW | {"epoch": 3, "val_acc": 7.0})
    after = inspect(tmp_path)
    assert after["run_id"] == before["run_id"]
    assert records(tmp_path, "run")[0]["resume"] is True
    assert [(row["epoch"], row["val_acc"]) for row in history(tmp_path)] == [(1, 0.5), (2, 0.5), (3, 7.0)]


def test_identities_differ_by_seed_and_place_and_by_nothing_else() -> None:
    same = {wandb_mirror.run_id(info()), wandb_mirror.run_id(info())}
    assert len(same | {wandb_mirror.run_id(info(seed=1)), wandb_mirror.run_id(info(place="2026-01-01/12-00"))}) == 3


def test_no_number_is_logged_where_there_is_none(tmp_path: Path) -> None:
    with RunLog(tmp_path, LOGGER, info()) as log:
        log.layers({"epoch": 0, "grad_norm": [float("nan"), 1.0], "weight_norm": [1.0, 1.0], "update_ratio": None})
        log.epoch(ROW | {"epoch": 1, "train_loss": float("nan"), "val_loss": float("inf"), "grad_norm": None})
    (row,) = history(tmp_path)
    assert set(METRICS) - set(row) == {"train_loss", "val_loss", "grad_norm"}
    assert "first_to_last_grad_norm_at_init" not in inspect(tmp_path)["summary"]


@pytest.mark.parametrize(("override", "status"), [("optimizer.lr=1e30", "diverged"), ("trainer.epochs=0", "done")])
def test_runs_with_few_numbers_are_runs_too(compose_config: Compose, tmp_path: Path, override: str, status: str) -> None:
    cfg = compose_config("logger=all", "optimizer=sgd", override)
    run.train(Cell.of(cfg, tmp_path), [0], show_progress=False)
    told = inspect(tmp_path / "seed=0")
    assert (told["state"], told["summary"]["status"]) == ("finished", status)
    assert told["summary"]["first_to_last_grad_norm_at_init"] > 0
    assert "layers/grad_norm_table" in told["summary"]
    assert {record["type"] for record in records(tmp_path / "seed=0", "artifact")} == {"run_table"}  # no checkpoint unasked
    logged = [
        {name: value for name, value in row.items() if value is not None} for row in rows(tmp_path / "seed=0" / "metrics.jsonl")
    ]
    assert [row for row in history(tmp_path / "seed=0") if row] == logged


def test_a_thousand_layers_are_thinned_for_the_panel() -> None:
    record = {"epoch": 0, "grad_norm": [10.0] * 1000}
    table = wandb_mirror.chart(record, record).table
    assert len(table.data) == wandb_mirror.SHOWN_LAYERS
    assert (table.data[0], table.data[-1]) == ([0, "at initialisation", 1.0], [999, "at initialisation", 1.0])


def test_disabled_leaves_nothing(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run.train(Cell.of(compose_config("logger=wandb", "logger.artifact=true"), tmp_path), [0], show_progress=False)
    assert not (tmp_path / "seed=0" / "wandb").exists()


def test_neither_random_state_nor_environment_nor_threads_of_torch_move(tmp_path: Path) -> None:
    def state() -> list[Any]:
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # W&B's own
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        numpy = np.random.get_state()[1].tolist()  # type: ignore[index, call-overload]  # noqa: NPY002
        return [
            random.getstate(),
            numpy,
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            environment,
            handlers,
            wandb.run,
        ]

    before = state()
    with RunLog(tmp_path, LOGGER, info()) as log:
        log.layers({"epoch": 0, "grad_norm": [1.0, 2.0], "weight_norm": [1.0, 1.0], "update_ratio": None})
        log.epoch(ROW | {"epoch": 1})
    assert state() == before


def test_wandb_and_tensorboard_are_imported_by_those_who_use_them_alone() -> None:
    program = (
        "import sys, labs.training.run, labs.jobs.preflight; print([m for m in ('wandb', 'tensorboard') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert ended.stdout == "[]\n"


def test_an_artifact_without_wandb_is_refused(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"^logger.artifact=true: needs logger.wandb=true$"):
        config.check(compose_config("logger=wandb", "logger.wandb=false", "logger.artifact=true"))
