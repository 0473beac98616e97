"""`labs` and `multirun_analysis` share no code, and believe the same result.json."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import run_contract
from labs.files import read_json, write_json
from labs.training import results
from multirun_analysis import result
from multirun_analysis.rundir import read_run

HASH = "0123456789"
GOLDEN = Path(__file__).parent / "golden" / "depth_study"
MLP, CNN = "mlp-digits-depth=5-plain", "cnn-cifar10-filters=8-16-plain"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of seed 1, as one writes it today."""
    directory = tmp_path / f"mlp-digits-{HASH}" / "seed=1"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "best.pt").touch()
    for name in results.RECORDS:
        (directory / name).write_text("".join(f'{{"epoch": {epoch}}}\n' for epoch in range(1, 5)))
    records = {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in results.RECORDS}
    write_json(directory / "config.json", results.sealed({"format": results.FORMAT, "hash": HASH, "seed": 1, "config": {}}))
    content = {
        "status": "done", "seed": 1, "best_epoch": 3, "epochs_run": 4, "train_loss": 0.25, "train_acc": 90.5, "val_loss": 0.5,
        "val_acc": 80.25, "test_loss": float("inf"), "test_acc": 79.0, "seconds": 1.5, "hash": HASH, "depth": 2,
        "residual": None, "params": 1234, "mult_adds": None, "layers": ["a", "head"], "num_classes": 10,
        "versions": {"torch": "ü"}, "error": None, "records": records,
    }  # fmt: skip
    results.write(directory, content)
    return directory


def believed(run: Path, seed: int = 1) -> bool:
    """Whether both do; a test fails where they disagree."""
    found, flaw = results.read(run, seed, HASH)
    analysed = read_run(run)
    assert (found is not None) == (analysed.status != "corrupt" and not analysed.mismatch), (flaw, analysed.notes)
    if found is None:
        assert flaw
        assert "\n" not in flaw
        assert any("result.json" in note for note in analysed.notes)
    return found is not None


def change(run: Path, *, seal: bool = True, **entries: Any) -> None:
    content = read_json(run / "result.json") | entries
    content = {key: value for key, value in content.items() if value != "absent"}
    write_json(run / "result.json", results.sealed(content) if seal and "checksum" not in entries else content)


def test_what_a_run_writes_is_believed(run: Path) -> None:
    assert believed(run)
    assert read_json(run / "result.json")["test_loss"] is None


def test_every_digit_counts(run: Path) -> None:
    whole = (run / "result.json").read_text()
    content, flipped = whole[: whole.index('"checksum"')], 0
    for position, character in enumerate(content):
        if character.isdigit():
            (run / "result.json").write_text(whole[:position] + str((int(character) + 1) % 10) + whole[position + 1 :])
            assert not believed(run), content[position - 20 : position + 1]
            flipped += 1
    assert flipped > 30


CHANGES: dict[str, dict[str, Any]] = {
    "another seed": {"seed": 0},
    "no seed": {"seed": "absent"},
    "another configuration": {"hash": "fedcba9876"},
    "an unknown status": {"status": "fine"},
    "a status of another type": {"status": ["done"]},
    "no accuracy": {"test_acc": "absent"},
    "null for an accuracy": {"val_acc": None},
    "a text for an accuracy": {"val_acc": "80"},
    "layers that are none": {"layers": "head"},
    "a count below zero": {"epochs_run": -1},
    "no checksum": {"checksum": "absent"},
    "a checksum of another type": {"checksum": ["1"]},
}


@pytest.mark.parametrize("entries", CHANGES.values(), ids=CHANGES)
def test_what_cannot_be_is_not_believed(run: Path, entries: dict[str, Any]) -> None:
    change(run, **entries)
    assert not believed(run)


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[1]", '{"status": "done"}', "[" * 100_000, '{"a":' * 300 + "1" + "}" * 300]
)
def test_what_is_no_result_is_not_believed(run: Path, content: str) -> None:
    (run / "result.json").write_text(content)
    assert not believed(run)


def test_a_folder_in_its_place_is_not_believed(run: Path) -> None:
    (run / "result.json").unlink()
    (run / "result.json").mkdir()
    assert not believed(run)


def test_a_copy_from_another_seed_counts_as_little_as_its_whole_directory(run: Path) -> None:
    shutil.copytree(run, other := run.with_name("seed=2"))
    assert not believed(other, 2)
    write_json(other / "config.json", results.sealed(read_json(run / "config.json") | {"seed": 2}))
    assert not believed(other, 2)
    change(other, seed=2)
    assert believed(other, 2)
    shutil.copy(run / "config.json", other)
    assert not believed(other, 2)


CONFIGS: dict[str, Callable[[Path], Any]] = {
    "gone": Path.unlink,
    "cut": lambda path: path.write_text("{"),
    "empty": lambda path: path.write_text("{}"),
    "a list": lambda path: path.write_text("[1]"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "without a configuration": lambda path: write_json(path, {"hash": HASH, "seed": 1}),
    "without a seed": lambda path: write_json(path, {"hash": HASH, "config": {}}),
}


@pytest.mark.parametrize("checksum", [True, False], ids=["with its checksum", "without"])
@pytest.mark.parametrize("damage", CONFIGS.values(), ids=CONFIGS)
def test_no_result_is_believed_without_the_config_json_it_belongs_to(
    run: Path, damage: Callable[[Path], Any], checksum: bool
) -> None:
    damage(run / "config.json")
    if not checksum:
        change(run, checksum="absent", records="absent")
    assert not believed(run)
    assert "lies beside no config.json of a run" in results.read(run, 1, HASH)[1]


def test_what_is_younger_than_checksums_has_one(run: Path) -> None:
    write_json(run / "config.json", {"hash": HASH, "seed": 1, "config": {}})
    change(run, checksum="absent")
    assert not believed(run)
    change(run, checksum="absent", records="absent")
    assert believed(run)


def test_a_checksum_that_config_json_has_counts_also_without_its_format(run: Path) -> None:
    note = read_json(run / "config.json")
    del note["format"]
    write_json(run / "config.json", note)
    assert not believed(run)
    write_json(run / "config.json", results.sealed(note))
    assert believed(run)


LOST: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "nothing": (lambda run: None, []),
    "a changed digit": (
        lambda run: (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().replace("4", "5")),
        ["metrics.jsonl is not as the run left it, so no curve is drawn from it"],
    ),
    "a line": (
        lambda run: (run / "layers.jsonl").write_bytes((run / "layers.jsonl").read_bytes()[:-13]),
        ["layers.jsonl is not as the run left it, so no curve is drawn from it"],
    ),
    "both files": (
        lambda run: [(run / name).unlink() for name in results.RECORDS],
        [f"{name} is gone, so no curve is drawn from it" for name in results.RECORDS],
    ),
    "a folder in its place": (
        lambda run: ((run / "metrics.jsonl").unlink(), (run / "metrics.jsonl").mkdir()),
        ["metrics.jsonl cannot be read (Is a directory), so no curve is drawn from it"],
    ),
    "a pipe in its place": (
        lambda run: ((run / "metrics.jsonl").unlink(), os.mkfifo(run / "metrics.jsonl")),
        ["metrics.jsonl cannot be read (Is no file), so no curve is drawn from it"],
    ),
    "best weights": (
        lambda run: (run / "checkpoints" / "best.pt").unlink(),
        ["checkpoints/best.pt is gone, so the weights cannot be tested again"],
    ),
    "all checkpoints": (
        lambda run: shutil.rmtree(run / "checkpoints"),
        ["checkpoints/ is gone, so the weights cannot be tested again"],
    ),
}


@pytest.mark.parametrize(("damage", "said"), LOST.values(), ids=LOST)
def test_both_say_the_same_of_what_a_finished_run_has_lost(run: Path, damage: Callable[[Path], Any], said: list[str]) -> None:
    damage(run)
    assert believed(run)
    found = results.read(run, 1, HASH)[0]
    assert found is not None
    assert list(results.lost(run, found).values()) == said
    assert result.lost(run, found) == results.lost(run, found)
    assert set(said) <= set(read_run(run).notes)


def test_of_a_result_of_before_only_the_weights_are_missed(run: Path) -> None:
    change(run, records="absent")
    (run / "metrics.jsonl").unlink()
    assert believed(run)
    found = read_json(run / "result.json")
    assert results.lost(run, found) == result.lost(run, found) == {}


def test_results_of_before_are_believed_as_they_are(run: Path) -> None:
    """Without a checksum, and without a word of one in config.json."""
    write_json(run / "config.json", {"hash": HASH, "seed": 1, "config": {}})
    change(run, checksum="absent", records="absent")
    assert believed(run)
    change(run, seal=False, epochs_run="absent")
    assert not believed(run)
    for path in GOLDEN.glob("*/seed=*"):
        seed, hashed = int(path.name[5:]), path.parent.name[-10:]
        assert results.finished(path, seed, hashed)
        assert read_run(path).status == "done"


def test_what_did_not_finish_needs_no_numbers(run: Path) -> None:
    entry = {"status": "failed", "seed": 1, "hash": HASH, "error": {"type": "ValueError", "message": "x", "traceback": ""}}
    results.write(run, entry)
    assert believed(run)
    assert not results.finished(run, 1, HASH)


def test_both_have_the_same_rules() -> None:
    for name in ("FINISHED", "ENDINGS", "METRICS", "COUNTS", "KINDS", "FIELDS", "NUMBERS_WHERE_DONE", "RECORDS"):
        assert getattr(results, name) == getattr(result, name)
    content = {"b": [1.5, None, "ü"], "a": {"z": 1e-300, "y": True}}
    assert results.checksum(content) == result.checksum(json.loads(json.dumps(results.sealed(content))))


def test_a_result_beside_a_changed_configuration_is_not_believed(tmp_path: Path) -> None:
    directory = tmp_path / "mlp-digits-0123456789" / "seed=1"
    note = results.sealed({"format": results.FORMAT, "hash": "0123456789", "seed": 1, "config": {"optimizer": {"lr": 0.001}}})
    result = {"status": "failed", "seed": 1, "hash": "0123456789", "error": None}
    results.write(directory, result)
    for config, believed in ((note, True), (note | {"config": {"optimizer": {"lr": 0.1}}}, False)):
        write_json(directory / "config.json", config)
        assert (results.read(directory, 1, "0123456789")[1] == "") == believed
        assert (read_run(directory).status == "failed") == believed


@pytest.mark.parametrize(
    ("name", "settings", "called"),
    [
        (f"{MLP}-9646252676", [("model.depth", "5"), ("optimizer.lr", "0.01")], f"{MLP} lr=0.01"),
        (f"a/{MLP}-9646252676", [("model.depth", "5"), ("model.residual", "false")], f"a/{MLP}"),
        (f"{MLP}-9646252676", [("model.residual", "true")], f"{MLP} residual"),
        (f"{CNN}-9646252676", [("model.filters", "[8,16]"), ("model.depth", "3")], CNN),
        ("Net-digits-9646252676", [("model.depth", "7"), ("model._target_", "my.Net")], "Net-digits depth=7"),
        ("12-00-00", [("optimizer._target_", "torch.optim.SGD"), ("dataset.augment", "none")], "12-00-00 SGD none"),
    ],
)  # fmt: skip
def test_a_cell_is_called_by_what_its_name_does_not_tell(name: str, settings: list[tuple[str, str]], called: str) -> None:
    assert run_contract.label(name, settings) == called


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1, "1"), (1e-5, "1e-05"), (True, "true"), (None, "null"), ([8, 8], "[8,8]"), ("", "''"), ("a", "a")],
)
def test_a_value_reads_as_it_is_typed(value: Any, text: str) -> None:
    assert run_contract.typed(value) == text
