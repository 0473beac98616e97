"""Errors for the user: one line that names what is wrong, what there is, and what was probably meant."""

import errno
import logging
import pickle
import shlex
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from hydra.errors import HydraException, OverrideParseException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from labs import config_checks, errors
from labs.errors import Interrupted, UserError, VisibleFormatter, contained, disk_refuses, explain, one_line_errors, reason

Compose = Callable[..., DictConfig]

# ── the line ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

MLP_KEYS = "_target_, name, depth, width, widths, residual, shortcut, block, branch_scale, norm, norm_bias, activation, init"
FIXED = "cannot be removed, as the keys of {} are fixed; give it another value"
TOP_KEYS = (
    "hydra, model, dataset, optimizer, scheduler, loss, trainer, diagnostics, logger, metrics, study, seed, replicas, device, "
    "resume, plan, analysis"
)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("override", "line"),
    [
        # options
        ("model=mpl", "model=mpl: no such option, did you mean mlp?; there is cnn, mlp, resnet"),
        ("dataset=cifar", "dataset=cifar: no such option, did you mean cifar10?; there is "
                          "cifar10, cifar100, digits, fashion_mnist, imagefolder, mnist"),
        ("trainer=quick", "trainer=quick: no such option; there is default, smoke"),
        ("hydra/launcher=jolib", "hydra/launcher=jolib: no such option, did you mean joblib?; "
                                 "there is basic, joblib, ray, slurm"),
        # keys
        ("model.dpeth=3", f"model.dpeth: no such key, did you mean depth?; there is {MLP_KEYS}"),
        ("model.kernel_size=3", f"model.kernel_size: no such key; there is {MLP_KEYS}"),
        ("lr=3", f"lr: no such key, did you mean optimizer.lr?; there is {TOP_KEYS}"),
        ("patience=3", f"patience: no such key, did you mean scheduler.patience or trainer.patience?; there is {TOP_KEYS}"),
        ("batchsize=3", f"batchsize: no such key, did you mean trainer.batch_size?; there is {TOP_KEYS}"),
        ("model.lr=3", f"model.lr: no such key, did you mean optimizer.lr?; there is {MLP_KEYS}"),
        ("sed=1", f"sed: no such key, did you mean seed?; there is {TOP_KEYS}"),
        # types
        ("model.depth=many", "model.depth: Value 'many' of type 'str' could not be converted to Integer"),
        ("model.depth=5.0", "model.depth: Value '5.0' of type 'float' could not be converted to Integer"),
        ("model.depth=null", "model.depth=null: this key needs a value"),
        ("model.residual=maybe", "model.residual: Value 'maybe' is not a valid bool (type str)"),
        ("optimizer.betas=[a,b]", "optimizer.betas[0]: Value 'a' of type 'str' could not be converted to Float"),
        ("model.widths=256", "model.widths: Invalid value assigned: int is not a ListConfig, list or tuple."),
        ("logger=null", "logger=null: no such option; there is all, none, tensorboard, wandb"),
        ("trainer=3", "trainer=3: no such option; there is default, smoke"),
        ("model=", "model=: no such option; there is cnn, mlp, resnet"),
        ("trainer=default,", "trainer=default,: a value is missing beside a comma; there is default, smoke"),
        ("trainer=,smoke", "trainer=,smoke: a value is missing beside a comma; there is default, smoke"),
        ("seed=1,,2", "seed=1,,2: a value is missing beside a comma"),
        # what cannot be taken away
        ("~optimizer.betas", "optimizer.betas: " + FIXED.format("optimizer=adam") + ", or leave betas to the class: "
                             "optimizer=any/target optimizer._target_=torch.optim.Adam has no other keys"),
        ("~scheduler.patience", "scheduler.patience: " + FIXED.format("scheduler=reduce_lr") + ", or leave patience to the "
            "class: scheduler=any/target scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau has no other keys"),
        ("~model.depth", "model.depth: " + FIXED.format("model=mlp") + ", model.depth=…"),
        ("~trainer.epochs", "trainer.epochs: " + FIXED.format("trainer=default") + ", trainer.epochs=…"),
        ("~model.width", "~model.width: there is nothing to remove: no such key, or its value is null"),
        # the override itself
        ("model.depth", "model.depth: not of the form key=value (Error parsing override 'model.depth')"),
        ("model.depth=(", "model.depth=(: not of the form key=value (Error parsing override 'model.depth=(')"),
        ("model.widths=[1,", "model.widths=[1,: not of the form key=value (no viable alternative at input '[1,')"),
    ],
)  # fmt: skip
def test_what_hydra_refuses_becomes_one_line(compose_config: Compose, override: str, line: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  whichever of its own Hydra raises
        compose_config(override)
    assert explain(caught.value).removesuffix(", submitit_local, submitit_slurm") == line  # these two come with an extra


@pytest.mark.parametrize("override", ["study=über", "dataset.folder=/tmp/Übung (1)", "dataset.folder=/tmp/a (1)",
    "dataset.folder=/tmp/the \"ü\"", "dataset.folder=/tmp/it's ü"])  # fmt: skip
def test_text_that_hydra_cannot_read_is_shown_as_it_must_be_typed(compose_config: Compose, override: str) -> None:
    folder = ["dataset=imagefolder"] if override.startswith("dataset") else []
    with pytest.raises(OverrideParseException) as caught:
        compose_config(*folder, override)
    line = explain(caught.value)
    assert line.startswith(f"{override}: not of the form key=value (")
    typed = line.partition("; quote the value: ")[2]
    key, _, value = override.partition("=")
    assert OmegaConf.select(compose_config(*folder, *shlex.split(typed)), key) == value
    assert override != "study=über" or typed == """'study="über"'"""


@pytest.mark.skipif(find_spec("submitit") is not None, reason="the extra slurm is installed")
@pytest.mark.parametrize("launcher", ["slurm", "submitit_local"])
def test_a_launcher_whose_extra_is_missing_says_how_to_install_it(compose_config: Compose, launcher: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        compose_config(f"hydra/launcher={launcher}")
    assert explain(caught.value).endswith("comes with an extra; pip install -c constraints.txt -e '.[slurm]'")


def test_a_job_that_died_under_its_launcher_is_one_line() -> None:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise TerminatedWorkerError("A worker was killed. Perhaps\nby the system.")
    assert (
        ended.value.code == "error: the process of a job died: A worker was killed; the same command again runs what is missing"
    )


def test_a_broken_reference_names_the_key(compose_config: Compose) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        config_checks.check(compose_config("model.depth=${nowhere}"))
    assert explain(caught.value) == "model.depth: Interpolation key 'nowhere' not found"


def test_no_experiment_is_chosen_by_leaving_it_out(compose_config: Compose) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        compose_config("experiment=null")
    line = explain(caught.value)
    assert line.startswith("experiment=null: no such option; there is cifar10_cnn, depth_study, ")
    assert line.endswith("; for none of them leave experiment out")
    assert ", original_mnist_mlp, " in line


@pytest.mark.parametrize("override", ["model.depth=1,2", "model.depth=range(1,3)"])
def test_a_list_of_values_without_multirun_says_so(compose_config: Compose, override: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        compose_config(override)
    line = explain(caught.value)
    assert override in line
    assert "--multirun" in line
    assert "\n" not in line


def test_a_target_that_does_not_exist_is_named_in_one_line() -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        instantiate({"_target_": "torch.optim.Nothing"})
    line = explain(caught.value)
    assert "torch.optim.Nothing" in line
    assert "\n" not in line


def test_the_users_own_error_is_found_beneath_others() -> None:
    error = RuntimeError("outer")
    error.__cause__ = ValueError("between")
    error.__cause__.__cause__ = UserError("model.depth=0: must be …")
    assert explain(error) == "model.depth=0: must be …"


def test_a_loop_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert explain(first) == "first"


# ── code of the user's own ───────────────────────────────────────────────────────────────────────────────────────────────


class Ending(BaseException):
    pass


@pytest.mark.parametrize(("error", "said"), [
    (SystemExit(), "ends the program, by SystemExit"), (SystemExit("bye"), "ends the program, by SystemExit: bye"),
    (Ending("now"), "ends the program, by Ending: now"), (ValueError("a mistake"), "a mistake"),
])  # fmt: skip
def test_code_of_the_users_own_ends_nothing(error: BaseException, said: str) -> None:
    with pytest.raises(Exception) as caught, contained():  # noqa: PT011
        raise error
    assert reason(caught.value) == said


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted(15)])
def test_a_signal_ends_code_of_the_users_own(error: BaseException, python_handles_ctrl_c: None) -> None:
    with pytest.raises(type(error)) as caught, contained():
        raise error
    assert caught.value is error


# ── the end of the program ───────────────────────────────────────────────────────────────────────────────────────────────


def failing(error: BaseException) -> None:
    with one_line_errors():
        raise error


def test_a_user_error_ends_with_its_line_and_status_1() -> None:
    with pytest.raises(SystemExit) as caught:
        failing(UserError("seed=-1: must be …"))
    assert caught.value.code == "error: seed=-1: must be …"  # Python prints a text on standard error and exits with 1


def test_an_error_of_hydra_ends_with_one_line(compose_config: Compose) -> None:
    with pytest.raises(SystemExit) as caught, one_line_errors():
        compose_config("model=mpl")
    assert caught.value.code == "error: model=mpl: no such option, did you mean mlp?; there is cnn, mlp, resnet"


@pytest.mark.parametrize(("error", "reason"), [
    (MemoryError(), "MemoryError"),
    (ImportError("x.so: failed to map segment from shared object"), "x.so: failed to map segment from shared object"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "DefaultCPUAllocator: can't allocate memory"),
])  # fmt: skip
def test_a_lack_of_memory_is_one_line(error: Exception, reason: str) -> None:
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise error
    line = f"error: out of memory ({reason}); free some, or raise the limit on this process (ulimit -v)"
    assert caught.value.code == line


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("model"), ImportError("no module")])
def test_what_the_user_cannot_mend_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        failing(error)
    assert caught.value is error


@pytest.mark.parametrize(("error", "code", "line"), [
    (KeyboardInterrupt(), 130, "interrupted; the same command resumes from there"),
    (errors.Interrupted(15, "interrupted; resume with: x"), 143, "interrupted; resume with: x"),
])  # fmt: skip
def test_a_signal_ends_the_program_with_one_line_and_a_status_of_its_own(
    capsys: Any, error: BaseException, code: int, line: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        failing(error)
    assert caught.value.code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"\n{line}\n"


def test_hydra_full_error_shows_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "SHOW_TRACEBACKS", True)
    with pytest.raises(UserError):
        failing(UserError("seed=-1: must be …"))


def test_errors_that_name_each_other_as_their_cause_end_all_the_same() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert disk_refuses(first) is None


# ── names of the user's in a line ────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = "a\nb\r\x1b[31mred\x9b0m\u202ereversed\u2028c"


def test_a_user_error_is_one_line_that_a_terminal_does_not_obey() -> None:
    said = str(UserError(f"{HOSTILE}: no such file"))
    assert said == r"a b\r\x1b[31mred\x9b0m\u202ereversed\u2028c: no such file"
    assert str(UserError(said)) == said
    assert str(pickle.loads(pickle.dumps(UserError(said)))) == said  # as a launcher's worker sends it


@pytest.mark.parametrize("error", [FileNotFoundError(errno.EACCES, "no", HOSTILE), UserError(HOSTILE), HydraException(HOSTILE),
    Interrupted(2, HOSTILE)])  # fmt: skip
def test_the_last_line_of_a_program_is_one_line(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, one_line_errors():
        raise error
    line = (str(caught.value) if isinstance(caught.value.code, str) else capsys.readouterr().err).strip("\n")
    assert r"\x1b[31mred" in line
    assert line.isprintable()


def test_a_log_shows_what_a_terminal_would_obey() -> None:
    record = logging.LogRecord("labs", logging.WARNING, "", 0, "%s failed\nsecond line", (HOSTILE,), None)
    assert VisibleFormatter("%(message)s").format(record).replace("\n", "").isprintable()
