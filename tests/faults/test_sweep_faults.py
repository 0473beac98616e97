"""What is typed is what is trained: generated sweeps, whose axes refer to each other and whose names look like numbers."""

import json
import os
import random

import pytest
from harness import Commands, count, runs

pytestmark = pytest.mark.faults
SWEEPS = max(int(os.environ.get("FAULTS", "100")) // 5, 2)
NAMES = ["2026_11_25", "12e3000", "34e4001", "1e5", "1_000", "0x1f", "007", "1.10", "nan", "true", "1e-5"]
QUICK = ["logger=none", "trainer.steps_per_epoch=1", "trainer.batch_size=256"]


def drawn(draw: random.Random) -> tuple[list[str], list[tuple[float, float, int, list[int], str]]]:
    """Overrides, and what each job is then to train with: learning rate, weight decay, epochs, widths, scheduler."""
    rates = draw.sample([0.1, 0.01, 0.001, 0.003], draw.randint(1, 3))
    widths = draw.sample([[8], [4, 4], [2, 3]], draw.randint(1, 2))
    epochs = draw.sample([1, 2], draw.randint(1, 2))
    refers = draw.random() < 0.5
    schedule = draw.sample(["constant", "cosine"], draw.randint(1, 2))
    lines = [
        f"optimizer.lr={','.join(map(str, rates))}",
        f"model.widths={','.join('[' + ','.join(map(str, w)) + ']' for w in widths)}",
        f"trainer.epochs={','.join(map(str, epochs))}",
        f"scheduler={','.join(schedule)}",
        "optimizer.weight_decay=${optimizer.lr}" if refers else "++optimizer.weight_decay=0.25",
    ]
    draw.shuffle(lines)
    expected = [(r, r if refers else 0.25, e, w, s) for r in rates for w in widths for e in epochs for s in schedule]
    return lines, expected


def test_sweeps_train_what_is_typed(commands: Commands) -> None:
    draw = random.Random(7)
    for number in range(SWEEPS):
        folder = commands.folder(f"typed-{number}")
        lines, expected = drawn(draw)
        study = draw.choice(NAMES)
        command = ["-m", f"study={study}", *lines, *QUICK]
        ended = commands.train(folder, *command)
        assert (ended.code, ended.err) == (0, "")
        jobs = f"multirun/{study}: {len(expected)} job{'s' * (len(expected) > 1)}"
        assert ended.out.startswith(f"{jobs}, 0 finished already, {len(expected)} to run\n")
        assert [path.name for path in (folder / "multirun").iterdir()] == [study]
        found = []
        for run in runs(folder):
            cfg = json.loads((run / "config.json").read_text(encoding="utf-8"))["config"]
            kind = "cosine" if "T_max" in cfg["scheduler"] else "constant"
            optimizer = cfg["optimizer"]
            found.append((optimizer["lr"], optimizer["weight_decay"], cfg["trainer"]["epochs"], cfg["model"]["widths"], kind))
        assert sorted(found) == sorted(expected)
        again = commands.train(folder, *command)
        assert again.out.startswith(f"{jobs}, {len(expected)} finished already, 0 to run\n")
        count("generated sweeps, each with the runs that were typed and nothing to do at the second start")
        count("jobs of these", len(expected))
