"""Errors for users: one line that says what is wrong, where, what is allowed and what to do."""

import errno
import logging
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

EXTRAS = {"hydra/launcher=submitit_slurm": "slurm", "hydra/launcher=submitit_local": "slurm"}  # the extra behind each option
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
MISPLACED = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP)
REFUSALS = (*NO_ROOM, *MISPLACED, errno.EACCES, errno.EPERM, errno.EIO)  # how a disk or a folder refuses
OUT_OF_MEMORY = "not enough memory|allocate memory|failed to map segment|bad_alloc|can't start new thread"
# Characters that control a terminal or the writing direction, except tab and newline.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SHOW_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


class UserError(Exception):
    """An error that the user can fix. Its message is one line, whatever names are in it, and is all the user sees."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal.

    Args:
        number: of the signal.
        message: one line that says how to resume.
    """

    def __init__(self, number: int, message: str = "interrupted; the same command resumes from there") -> None:
        super().__init__(number, message)
        self.number, self.message = number, message

    def __str__(self) -> str:
        return f"by {signal.Signals(self.number).name}"


class VisibleFormatter(logging.Formatter):
    """Log formatter that shows control characters, so that the terminal does not obey them."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def visible(text: str) -> str:
    r"""Multi-line text with each control character shown as Python escapes it, such as `\x1b`."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Like `visible`, with a space for each line break."""
    return re.sub(r"\s*\n\s*", " ", visible(text)).strip()


@contextmanager
def contained(passing: type[BaseException] = Interrupted) -> Iterator[None]:
    """Run the user's own code: an attempt to end the program, as by `sys.exit`, becomes an ordinary exception.

    Signals pass: a SIGINT is an `Interrupted` where `labs.signals` handles it, and a KeyboardInterrupt where Python does.
    """
    try:
        yield
    except (Exception, passing):
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise
        raise RuntimeError(f"ends the program, by {type(error).__name__}" + f": {error}" * bool(str(error))) from error


def reason(error: BaseException) -> str:
    """An exception's message in one line, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def take_over_from_hydra() -> None:
    """Have Hydra raise its errors for `one_line_errors` instead of printing them over several lines."""
    os.environ["HYDRA_FULL_ERROR"] = "1"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with one line on standard error and status 1 on any error the user can fix.

    After a signal the status is 128 plus its number: 130 for Ctrl-C, 143 for SIGTERM. Other errors keep their traceback, and
    all do with HYDRA_FULL_ERROR=1.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        print(f"\n{one_line(stop.message)}", file=sys.stderr)
        sys.exit(128 + stop.number)
    except Exception as error:
        if Interrupted.__name__ in str(error) and type(error).__module__.startswith("submitit"):  # a job's error, as text
            print("\na job was interrupted; the same command resumes from there", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        if SHOW_TRACEBACKS:
            raise
        if (refused := disk_refuses(error)) is not None:
            sys.exit(one_line(f"error: {culprit(refused) or Path.cwd()}: {refusal(refused)}; mend that and start again"))
        if isinstance(error, MemoryError) or (isinstance(error, ImportError | OSError | RuntimeError)
                                              and re.search(OUT_OF_MEMORY, str(error), re.IGNORECASE)):  # fmt: skip
            sys.exit(
                one_line(f"error: out of memory ({reason(error)}); free some, or raise the limit on this process (ulimit -v)")
            )
        if _lost_a_job(error):
            said = " ".join(str(error).split("\n")[:2]).partition(". ")[0]
            sys.exit(one_line(f"error: the process of a job died: {said}; the same command again runs what is missing"))
        if not (isinstance(error, UserError) or _about_configuration(error)):
            raise
        sys.exit(one_line(f"error: {explain(error)}"))


def disk_refuses(error: BaseException | None) -> OSError | None:
    """The disk's refusal at the root of this error, or None.

    The disk is full, over quota, read-only, not ours or broken, has a folder in a file's place, or the name is too long.
    """
    refusals = [number for number in REFUSALS if not (isinstance(error, UserError) and number in MISPLACED)]
    seen: list[BaseException] = []  # a cause raised again is its own context's context
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in refusals:
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def culprit(error: OSError) -> str:
    """The refused file, or the destination of a refused move; empty if unknown."""
    return str(error.filename2 or error.filename or "")


def refusal(error: OSError) -> str:
    """What the disk refuses, and why."""
    return f"cannot be {'written' if error.errno in NO_ROOM else 'used'} ({error.strerror})"


NEAR = 0.8  # how alike two names are, from 0 to 1, for one to be a misspelling of the other


def explain(error: Exception) -> str:
    """One line for an error, with the closest existing name if a name was wrong."""
    chain: list[Exception] = []
    cause: BaseException | None = error
    while isinstance(cause, Exception) and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
        if isinstance(link, OverrideParseException):
            if re.search(r"=([^\[{(]*,)?\s*(,|$)", link.override):
                return f"{link.override}: a value is missing beside a comma{_options(error, link.override.partition('=')[0])}"
            return f"{link.override}: not of the form key=value ({link.message.splitlines()[0]}){_quoted(link.override)}"
        if isinstance(link, MissingConfigException) and link.missing_cfg_file:
            group, _, name = link.missing_cfg_file.rpartition("/")
            if extra := EXTRAS.get(f"{group}={name}"):
                return f"{group}={name}: comes with an extra; pip install -c constraints.txt -e '.[{extra}]'"
            if link.options:  # none are known for a file that another file's defaults list names
                return f"{group}={name}: no such option{_closest(name, link.options)}; there is {', '.join(link.options)}"
    for link in chain:
        if isinstance(link, OmegaConfBaseException):
            key = link.full_key or link.key
            said = (link.msg or str(link)).splitlines()[0]
            options = [str(option) for option in (link.parent_node or {})]
            name = str(key).rpartition(".")[2]
            if key and "Cannot merge" in said and isinstance(link.parent_node, DictConfig) and name not in options:
                return f"{key}: takes keys, {key}.…=…, and no list"
            if key and isinstance(link.parent_node, DictConfig) and name not in options:
                near = _closest(name, options, NEAR) or _elsewhere(name, link.parent_node, NEAR)
                meant = _elsewhere(name, link.parent_node) or near or _closest(name, options)
                return f"{key}: no such key{meant}; there is {', '.join(options)}"
            if "is not Optional" in said:
                return f"{key}=null: this key needs a value"
            if "does not support deletion" in said:
                return _fixed(error, str(key), link.parent_node)
            return f"{key}: {said}" if key and str(key) not in said else said
    override = _local(error, "override", "key_or_group")
    if "Config group override" in str(error) and override is not None:  # Hydra does not say which group
        group = override.key_or_group
        none = f"; for none of them leave {group} out" if group == "experiment" else ""
        return f"{override.input_line}: no such option{_options(error, group)}{none}"
    if "Could not delete" in str(error) and "does not exist" in str(error) and override is not None:
        return f"{override.input_line}: there is nothing to remove: no such key, or its value is null"
    return one_line(str(error))


def _fixed(error: Exception, key: str, node: Any) -> str:
    """What to do instead of removing a key that a schema fixes."""
    group, _, name = key.rpartition(".")
    defaults = _local(error, "defaults_list", "overrides")
    choice = defaults.overrides.known_choices.get(group) if defaults is not None else None
    file = f"{group}={choice}" if choice else group
    line = f"{key}: cannot be removed, as the keys of {file} are fixed; give it another value"
    target = str(node.get("_target_") or "") if isinstance(node, DictConfig) else ""
    if not target or target.startswith("labs."):
        return f"{line}, {key}=…"
    return f"{line}, or leave {name} to the class: {group}=any/target {group}._target_={target} has no other keys"


def _options(error: Exception, group: str) -> str:
    """The options of a group, as far as Hydra listed them; empty if it is not a group."""
    for variable in ("repo", "self"):
        repository = _local(error, variable, "get_group_options")
        if repository is not None and (names := repository.get_group_options(group)):
            return f"; there is {', '.join(names)}"
    return ""


def _local(error: Exception, name: str, attribute: str) -> Any:
    """The local variable with this name and attribute in an exception's traceback, or None."""
    variables = (frame.f_locals.get(name) for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((variable for variable in variables if hasattr(variable, attribute)), None)


def _elsewhere(name: str, node: DictConfig, cutoff: float = 1.0) -> str:
    """The keys of the whole configuration, in any group, whose last part is this name, or close to it."""
    whole = node._get_root()
    groups = {str(group): whole._get_node(group) for group in whole if group != "hydra"}
    keys = [f"{group}.{leaf!s}" for group, found in groups.items() if isinstance(found, DictConfig) for leaf in found]
    names = get_close_matches(name, dict.fromkeys(key.partition(".")[2] for key in keys), n=1, cutoff=cutoff)
    found = [key for key in keys if key.partition(".")[2] in names]
    return f", did you mean {' or '.join(found)}?" if found else ""


def _closest(name: str, options: Sequence[str], cutoff: float = 0.5) -> str:
    matches = get_close_matches(name, options, n=1, cutoff=cutoff)
    return f", did you mean {matches[0]}?" if matches else ""


def _quoted(override: str) -> str:
    """How to quote an override whose text has letters, spaces or brackets that Hydra's grammar lacks; or nothing."""
    key, _, value = override.partition("=")
    if not value or "," in value or re.match(r"""['"[{(]|\w+\(""", value):  # a list, a mapping, a function: not meant as text
        return ""
    escaped = value.replace('"', '\\"')
    quoted = f'{key}="{escaped}"'
    with suppress(HydraException):
        if OverridesParser.create().parse_override(quoted).value() == value:
            return f"; quote the value: {shlex.quote(quoted)}"
    return ""


def _lost_a_job(error: Exception) -> bool:
    """Whether a launcher lost a job: killed, out of memory, or on a node that is gone."""
    return type(error).__name__ in ("TerminatedWorkerError", "UncompletedJobError", "FailedJobError")


def _about_configuration(error: Exception) -> bool:
    """Whether Hydra or OmegaConf raised this, as their own exception or from within their code."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").partition(".")[0] in ("hydra", "omegaconf")
