"""Whatever becomes of standard output and the locale, the work is done, and the exit status says what could not be told."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import labs

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
from pathlib import Path
import terminal
with terminal.lasting_output():
    OPTIONAL
    for i in range(20_000):
        print("a line, with ü, …, \\udcfc and 中")
    print("to standard error: ü", file=sys.stderr)
    Path("done").touch()
    sys.exit(STATUS)
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # Python would change to UTF-8 by itself
QUICK = ["logger=none", "model.depth=2", "trainer.epochs=1", "trainer.steps_per_epoch=2"]


def run(folder: Path, program: str, redirection: str = "", *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Python, or a file of one, through a shell that redirects its output."""
    command = ["-c", program] if "\n" in program else program.split()
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}', "bash", sys.executable, *command, *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | env, capture_output=True,
        encoding="utf-8", errors="replace", timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirection", "status", "words"),
    [
        (">/dev/full", 1, "error: standard output: cannot be written (No space left on device)"),
        (">&-", 1, "error: standard output: cannot be written (Bad file descriptor)"),
        ("| head -3 >&2", 141, ""),
        (">/dev/null 2>/dev/full", 0, ""),
        (">/dev/null 2>&-", 0, ""),
        ("<&- >&- 2>&-", 1, ""),
        (">/dev/null", 0, ""),
    ],
)
def test_what_cannot_be_printed_ends_nothing(tmp_path: Path, redirection: str, status: int, words: str) -> None:
    program = PROGRAM.replace("OPTIONAL", "pass").replace("STATUS", "0")
    ended = run(tmp_path, program, redirection)
    assert ended.returncode == status
    assert (tmp_path / "done").exists()
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "| head -1"])
def test_a_failure_stays_one_and_training_counts_more_than_its_output(tmp_path: Path, redirection: str) -> None:
    for status in ("3", "'error: what failed'"):
        ended = run(tmp_path, PROGRAM.replace("OPTIONAL", "pass").replace("STATUS", status), redirection)
        assert ended.returncode == (3 if status == "3" else 1)
        assert ("what failed" in ended.stderr) == (status != "3")
    optional = PROGRAM.replace("OPTIONAL", "terminal.output_is_optional()").replace("STATUS", "None")
    assert run(tmp_path, optional, redirection).returncode == 0


def test_a_closed_descriptor_is_not_given_to_a_file_of_ours(tmp_path: Path) -> None:
    program = "import os, terminal\nwith terminal.lasting_output():\n    f = open('ours', 'w')\n    os.system('echo no')"
    run(tmp_path, program, "<&- >&- 2>&-")
    assert (tmp_path / "ours").read_bytes() == b""


def test_what_must_not_get_lost_is_told_to_standard_error(tmp_path: Path) -> None:
    program = "import terminal\nwith terminal.lasting_output():\n    terminal.tell('failed: 1')"
    assert "failed: 1" in run(tmp_path, program, ">/dev/full").stderr
    assert run(tmp_path, program).stdout == "failed: 1\n"
    assert run(tmp_path, program).stderr == ""


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_printing_never_fails(tmp_path: Path, encoding: str) -> None:
    program = PROGRAM.replace("OPTIONAL", "pass").replace("STATUS", "0")
    assert run(tmp_path, program, ">/dev/null", PYTHONIOENCODING=encoding).returncode == 0


def test_an_ascii_locale_is_read_as_utf8(tmp_path: Path) -> None:
    program = """
import sys, terminal
with terminal.lasting_output():
    print(ascii(sys.argv[1:]), sys.getfilesystemencoding())
"""
    assert run(tmp_path, program, "", "bilder_ü", **ASCII).stdout == "['bilder_\\xfc'] utf-8\n"


@pytest.fixture(scope="session")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Latin-1 locale."""
    folder = tmp_path_factory.mktemp("locales")
    if not shutil.which("localedef"):
        pytest.skip("no localedef to make a Latin-1 locale with")
    made = folder / "de_DE.ISO-8859-1"
    subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(made)], capture_output=True)
    if not made.is_dir():
        pytest.skip("localedef has no sources of locales")
    return {"LOCPATH": str(folder), "LC_ALL": made.name, "PYTHONUTF8": "0"}


@pytest.mark.slow
def test_a_sweep_and_its_analysis_in_latin1(tmp_path: Path, latin1: dict[str, str]) -> None:
    everything = """
import os, sys, runpy
sys.path.insert(0, os.getcwd())
analysis = ["multirun_analysis", "multirun/s"]
for arguments in (["train.py", "-m", *sys.argv[1:]], analysis, [*analysis, "--status"]):
    sys.argv = arguments
    try:
        if arguments[0] == "train.py":
            runpy.run_path("train.py", run_name="__main__")
        else:
            runpy.run_module("multirun_analysis", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, end.code
"""
    project(tmp_path)
    mlp = tmp_path / "conf" / "model" / "mlp.yaml"
    mlp.write_text(mlp.read_text(encoding="utf-8").replace("name: mlp", 'name: "tiefe_Ä_…_中"'), encoding="utf-8")
    arguments = [*QUICK, "study=s", "model.residual=true,false", "hydra/launcher=joblib"]
    ended = run(tmp_path, everything, "", *arguments, **latin1)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    written = next(tmp_path.glob("multirun/s/*/.hydra/config.yaml")).read_text(encoding="utf-8")
    assert "tiefe_Ä_…_中" in written
    assert "tiefe_Ä_…_中" in (tmp_path / "multirun/s/report/report.html").read_text(encoding="utf-8")


def project(folder: Path) -> None:
    shutil.copy(ROOT / "train.py", folder)
    shutil.copytree(ROOT / "conf", folder / "conf")


# ── what Windows lacks ───────────────────────────────────────────────────────────────────────────────────────────────────

AS_ON_WINDOWS = """
import ctypes, os, signal, sys
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGPIPE", "SIGQUIT", "SIGALRM"):
    delattr(signal, name)
for name in ("pidfd_open", "getuid", "geteuid", "getgid", "killpg", "getpgid", "setsid", "mkfifo", "sched_getaffinity"):
    delattr(os, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
def no_links(*_, **__):
    raise OSError("a required privilege is not held by the client")
os.symlink = os.link = no_links
class CDLL(ctypes.CDLL):
    def __init__(self, name, *arguments, **options):
        if name is None or str(name).startswith("libc."):
            raise FileNotFoundError(f"Could not find module {name!r}")
        super().__init__(name, *arguments, **options)
ctypes.CDLL = CDLL
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_nothing_needs_what_windows_lacks(tmp_path: Path, launcher: str) -> None:
    everything = """
import os, sys, runpy
from pathlib import Path
sys.path.insert(0, os.getcwd())
def start(module, *arguments):
    sys.argv = [module, *arguments]
    try:
        if module == "train.py":
            runpy.run_path("train.py", run_name="__main__")
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, (module, end.code)
quick = sys.argv[1:]
start("train.py", *quick, "study=s")
[run] = Path("multirun/s").glob("*/seed=0")
(run / "result.json").unlink()
start("train.py", *quick, "study=s", "resume=must")
start("train.py", "-m", *quick, "study=s", "seed=0,1", "hydra/launcher=LAUNCHER")
start("labs.evaluate", str(run))
start("multirun_analysis", "multirun/s")
start("multirun_analysis", "multirun/s", "--status")
"""
    project(tmp_path)
    (tmp_path / "sitecustomize.py").write_text(AS_ON_WINDOWS, encoding="utf-8")  # for joblib's workers too
    ended = run(tmp_path, everything.replace("LAUNCHER", launcher), "", *QUICK, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    results = sorted(tmp_path.glob("multirun/s/*/seed=*/result.json"))
    assert [path.parent.name for path in results] == ["seed=0", "seed=1"]
    assert (tmp_path / "multirun/s/report/report.html").exists()
    names = [path.name for path in tmp_path.glob("multirun/**/*")]
    assert not [name for name in names if set(name) & set('<>:"/\\|?*') or name.endswith((".", " "))]


# ── OMP_DYNAMIC ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["TRUE", "true", "1"])
def test_omp_dynamic_is_gone_before_torch_comes(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OMP_DYNAMIC", value)
    importlib.reload(labs)
    assert "OMP_DYNAMIC" not in os.environ  # and no program that this one starts inherits it
