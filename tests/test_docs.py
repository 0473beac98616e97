"""The documents name files, links, anchors and commands that exist."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from labs import config_checks
from labs.jobs import grid
from labs.jobs.overrides import as_typed
from multirun_analysis.__main__ import main

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "FINDINGS.md", "CONTRIBUTING.md")]
    + [*ROOT.glob("docs/*.md"), *ROOT.glob("results/**/README.md"), ROOT / "benchmarks" / "README.md"]
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
MENTION = re.compile(r"(?<![\w/.-])(?:labs|multirun_analysis|conf|tests|results|benchmarks|hydra_plugins)/[\w/.-]+")
PLACEHOLDERS = ("preact",)  # what the recipes of docs/extending.md add


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", title).lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for link in LINK.findall(FENCE.sub("", text)):
        if "://" in link or link.startswith("mailto:"):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def absent_files(text: str) -> list[str]:
    named = [path.rstrip(".") for path in MENTION.findall(text)]
    return [path for path in named if not (ROOT / path).exists() and not any(word in path for word in PLACEHOLDERS)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    assert absent_files(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("folder", ["labs", "multirun_analysis"])
def test_every_module_has_its_place_in_the_architecture(folder: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = [path for path in (ROOT / folder).rglob("*.py") if path.name != "__init__.py" and path.parent.name != "figures"]
    assert [name(path) for path in modules if f"`{name(path)}`" not in page] == []


def test_every_module_has_its_tests_where_its_path_or_the_architecture_says() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`([\w/.]+)`", line) for line in page.partition("## Tests")[2].splitlines() if line.startswith("| `")]
    elsewhere = {path for row in rows for path in row if not path.startswith("tests/")}
    assert all(any(path.startswith("tests/") for path in row) for row in rows)
    modules = [path for folder in ("labs", "multirun_analysis") for path in (ROOT / folder).rglob("*.py")]
    mirrored = {name(path): ROOT / "tests" / path.parent.relative_to(ROOT) / f"test_{path.name}" for path in modules}
    untested = [module for module, test in mirrored.items() if not test.exists() and not module.endswith("__init__.py")]
    assert sorted(set(untested) - elsewhere) == []
    assert sorted(module for module in elsewhere if module in mirrored and mirrored[module].exists()) == []  # rows for nothing


def test_no_two_test_files_have_the_same_name() -> None:
    """pytest imports them by that name."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted({each for each in names if names.count(each) > 1}) == []


def test_a_broken_link_and_an_absent_file_are_found() -> None:
    page = ROOT / "docs" / "tutorial.md"
    text = "[a](nowhere.md) [b](setup.md#no-such) [c](setup.md#data) [d](#no) ![e](report.png) `labs/watch.py` `labs/cells.py`"
    assert broken_links(page, text) == ["nowhere.md", "setup.md#no-such", "#no"]
    assert absent_files(text) == ["labs/watch.py"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 115


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


FOLLOWED = ("README.md", "docs/tutorial.md", "docs/teaching.md")  # from top to bottom, by newcomers
SLOW = ("docs/configuration.md",)  # Hydra takes a tenth of a second to compose a command


def commands(prefix: str, pages: tuple[str, ...] = FOLLOWED) -> list[list[str]]:
    """The arguments of such command lines in the pages' blocks of code, apart from those that stand for others."""
    blocks = [block for page in pages for block in FENCE.findall((ROOT / page).read_text(encoding="utf-8"))]
    return commands_in(blocks, prefix)


def commands_in(blocks: list[str], prefix: str) -> list[list[str]]:
    """The arguments of such command lines in blocks of code."""
    whole = [block.replace("\\\n", "") for block in blocks]  # lines that a backslash continues
    lines = {line for block in whole for line in block.splitlines() if line.startswith(prefix) and "my_package" not in line}
    return [shlex.split(line.removeprefix(prefix), comments=True) for line in sorted(lines)]


def test_the_pages_have_commands() -> None:
    assert len(commands("python train.py")) > 5
    assert len(commands("python train.py", SLOW)) > 5
    assert len(commands("python -m multirun_analysis")) > 2


HELP = str(OmegaConf.load(ROOT / "conf" / "config.yaml").hydra.help.footer)  # the last lines of --help


def test_help_ends_with_examples() -> None:
    assert len(commands_in([HELP], "python train.py")) == 4


TRAIN = [
    *commands_in([HELP], "python train.py"),
    *commands("python train.py"),
    *(pytest.param(line, marks=pytest.mark.slow) for line in commands("python train.py", SLOW)),
]


@pytest.mark.parametrize("arguments", TRAIN)
def test_what_is_typed_to_train_composes(compose_config: Callable[..., DictConfig], arguments: list[str]) -> None:
    """The first and the last job that it asks for, checked like a job of a sweep."""
    jobs = grid.overrides(
        {}, as_typed([argument for argument in arguments if not argument.startswith("-") and argument != "job"])
    )
    assert len(jobs) == 1 or "-m" in arguments or any(argument.startswith("experiment=") for argument in arguments)
    cfg = compose_config(*jobs[-1])
    if cfg.trainer.steps is not None:  # of an experiment; `compose_config` sets two epochs
        cfg = compose_config(*jobs[-1], "trainer.epochs=null")
    if not OmegaConf.is_missing(cfg.dataset, "folder"):
        config_checks.check(cfg)


def told(text: str) -> list[tuple[str, str]]:
    """The commands of a page's blocks that a line with their error follows."""
    return re.findall(r"^\$ python train\.py (.*)\n(error: .*)$", text, re.MULTILINE)


def as_printed(line: str, printed: str) -> bool:
    """Is this what is printed, where … stands for what a page leaves out?"""
    return re.fullmatch(re.escape(line).replace("…", ".*"), printed) is not None


@pytest.mark.parametrize(("arguments", "line"), sorted({each for page in PAGES for each in told(page.read_text("utf-8"))}))
def test_an_error_that_a_page_shows_is_the_one_that_is_printed(arguments: str, line: str, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "train.py", *shlex.split(arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert as_printed(line, ended.stderr.strip()), ended.stderr


def test_an_error_that_a_page_cuts_short_is_found() -> None:
    assert told("$ python train.py model.dept=3\nerror: a; b, …\n") == [("model.dept=3", "error: a; b, …")]
    assert as_printed("error: a; b, …", "error: a; b, c, d")
    assert not as_printed("error: a; b", "error: a; b, c")


ANALYSE = [*commands("python -m multirun_analysis "), *commands_in([HELP], "python -m multirun_analysis ")]


@pytest.mark.parametrize("arguments", ANALYSE, ids=" ".join)
def test_what_is_typed_to_analyse_is_understood(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1  # there are no such folders here; wrong usage exits with 2


def test_a_wrong_command_is_found(compose_config: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConfigCompositionException):
        test_what_is_typed_to_train_composes(compose_config, ["-m", "model.dept=5,10"])
