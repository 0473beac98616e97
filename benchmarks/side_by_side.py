"""This project beside a plain PyTorch recipe, Lightning and JAX, and many seeds at once beside one at a time.

    python -m benchmarks.side_by_side [--pairs 3] [--only mlp seeds diagnostics cnn] [--write benchmarks/results.md]

Needs MNIST and CIFAR-10, `pip install -c constraints.txt -e '.[bench]'` for Lightning and JAX (left out where they are not
installed), and a machine with nothing else to do: about 25 minutes on two cores. Before anything is timed the first step of the
plain recipe must agree with this project's, loss and gradient. Each figure is from a fresh process; contenders take turns, and
a ratio is the median over pairs of neighbours in time, with the smallest and the largest. The page is written after each part;
parts that are left out (`--only`) stay as they were.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import terminal

DEPTHS = (5, 20, 100)
STEPS, BATCH = 215, 128  # half an epoch of MNIST
COMMON = ["trainer.patience=null", "trainer.save_every=null", "scheduler=constant", "logger=tensorboard"]
CNN = ["model=cnn", "dataset=cifar10", "dataset.val_size=256", "trainer.batch_size=256", "trainer.steps_per_epoch=6"]
PARTS = ("mlp", "seeds", "diagnostics", "cnn")
SAME_IMAGES = 1e-4  # of a pixel of standard deviation 1; torchvision rounds otherwise
SAME_STEP = 1e-6  # relative, in double precision; plain gradients grow by 10^8 over 100 layers, and rounding with them

ROUNDED = 10  # times as far from double precision as the stacked engine may the fused one be
ONE_NETWORK = (
    f"MLP on MNIST, batch {BATCH}, {STEPS} steps an epoch, 1,000 validation images; all of an epoch is counted, here with "
    "gradient diagnostics, TensorBoard and checkpoints on, one thread. plain: two loader workers and torch's own threads, as "
    "such recipes are written. plain, tuned: workers that stay from epoch to epoch, one computing thread. Lightning: workers "
    "that stay, its own default threads; no logger, checkpoints, bar. JAX: the steps alone, one jitted scan on one thread, not "
    "compiling. Over arithmetic: over the matrix products at SGEMM's rate."
)
TEN_SEEDS = (
    "The same, in milliseconds a step and replica. Left: one process, one thread. Right: ten seeds and all cores busy, in one "
    "process that has a thread a core, and in a process a core with ten seeds and one thread each."
)


def mlp(depth: int, residual: bool, *extra: str, epochs: int = 3) -> list[str]:
    """Overrides of an MLP on MNIST, whose validation part is kept small because a part of an epoch is trained."""
    return [
        "dataset=mnist", "dataset.augment=none", "dataset.val_size=1000", f"model.depth={depth}", f"model.residual={residual}",
        f"trainer.batch_size={BATCH}", f"trainer.steps_per_epoch={STEPS}", f"trainer.epochs={epochs}", *COMMON, *extra,
    ]  # fmt: skip


def start(
    overrides: list[str], *, name: str, threads: int = 1, workers: int = 0, persistent: bool = False
) -> subprocess.Popen[str]:
    """Start a contender in a process of its own."""
    how = {"name": name, "overrides": overrides, "threads": threads, "workers": workers, "persistent": persistent}
    order = json.dumps(how)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.contenders", order]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it printed."""
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"a contender failed:\n{err[-3000:]}")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def milliseconds(overrides: list[str], steps: int, replicas: int = 1, **how: Any) -> float:
    """Milliseconds a step and replica, the rest of the epoch included: median of the epochs after the first."""
    epochs = finish(start(overrides, **how))["epochs"]
    return float(median(epochs[1:]) / steps / replicas * 1e3)


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Median of the paired ratios, with the smallest and the largest."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return f"{median(ratios):.1f}x ({ratios[0]:.1f} to {ratios[-1]:.1f})"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]


def gate() -> list[str]:
    """Whether plain recipe and project do the same, and how far single precision is from it. Stops the benchmark if not."""
    rows = []
    for name, overrides in (
        *((f"MLP, depth {d}, {'residual' if r else 'plain'}", mlp(d, r)) for d in DEPTHS for r in (False, True)),
        ("CNN", [*CNN, "dataset.augment=none", "model.dropout=0"]),
    ):
        apart = finish(start(overrides, name="first_step"))
        same = apart["images"] <= SAME_IMAGES and max(apart["loss"], apart["gradient"]) <= SAME_STEP
        if not same or apart["fused"] > ROUNDED * max(apart["rounded"], SAME_STEP):
            raise SystemExit(f"{name}: the first steps differ, so there is nothing to compare: {apart}")
        rows.append([name, *(f"{apart[what]:.0e}" for what in ("images", "loss", "gradient", "rounded", "fused"))])
    return table(["first step, differences in", "pixels", "loss", "gradient", "in float32, stacked", "in float32, fused"], rows)


def one_seed(floors: dict[str, Any], pairs: int, jax: str | None) -> list[str]:
    """One network at a time against the stacked engine, plain recipe, Lightning, JAX and the floor of the machine."""
    cores = os.cpu_count() or 1
    rivals: dict[str, dict[str, Any]] = {
        "stacked": {"name": "project"},
        "plain": {"name": "plain", "workers": 2, "threads": cores},
        "plain, tuned": {"name": "plain", "workers": 2, "persistent": True},
        "Lightning": {"name": "lightning", "workers": 2, "persistent": True, "threads": cores},
        "JAX": {"name": "jax"},
    }
    if not find_spec("lightning"):
        del rivals["Lightning"]
    if jax is None:
        del rivals["JAX"]
    rows = []
    for depth in DEPTHS:
        for residual in (False, True):
            ours: list[float] = []
            theirs: dict[str, list[float]] = {rival: [] for rival in rivals}
            for _ in range(pairs):
                ours.append(milliseconds(mlp(depth, residual, epochs=4), STEPS, name="project"))
                for rival, how in rivals.items():
                    if rival == "JAX":
                        theirs[rival].append(jax_milliseconds(str(jax), depth, residual))
                    elif rival == "stacked":
                        stacked = mlp(depth, residual, "trainer.engine=stacked", epochs=4)
                        theirs[rival].append(milliseconds(stacked, STEPS, **how))
                    else:
                        theirs[rival].append(milliseconds(mlp(depth, residual, epochs=2), STEPS, **how))
            floor = arithmetic_floor(depth, floors)
            row = [str(depth), "residual" if residual else "plain", f"{median(ours):.2f}", f"{median(ours) / floor:.1f}x"]
            for rival in rivals:
                row += [f"{median(theirs[rival]):.2f}", ratio(ours, theirs[rival])]
            rows.append(row)
            say(" | ".join(row))
    header = ["depth", "", "here, ms a step", "over arithmetic"]
    for rival in rivals:
        header += [f"{rival}, ms a step", f"{rival} / here"]
    return table(header, rows)


def jax_milliseconds(python: str, depth: int, residual: bool) -> float:
    """Milliseconds a step of the same network in JAX, without compilation, validation or anything else."""
    how = {"depth": depth, "residual": residual, "batch": BATCH, "steps": STEPS, "epochs": 4}
    command = [python, str(Path(__file__).with_name("jax_scan.py")), json.dumps(how)]
    epochs = json.loads(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout)["epochs"]
    return float(median(epochs[1:]) / STEPS * 1e3)


def arithmetic_floor(depth: int, floors: dict[str, Any]) -> float:
    """Milliseconds that the matrix products of a step take at the machine's SGEMM rate with one thread."""
    widths = [784, *[128, 64, *[32] * (depth - 2)][:depth], 10]
    products = sum(a * b for a, b in pairwise(widths))
    operations = 2 * BATCH * (3 * products - widths[0] * widths[1])  # no gradient with respect to the images
    return float(operations / floors["sgemm_gflops"]["1"] / 1e6)


def many_seeds(pairs: int) -> list[str]:
    """Ten seeds together against one at a time, and the ways to keep all cores busy with them."""
    cores = os.cpu_count() or 1
    rows = []
    for depth in DEPTHS:
        for residual in (False, True):
            alone, ten, stacked, threads, processes = [], [], [], [], []
            together = mlp(depth, residual, "replicas=10", epochs=3)
            for _ in range(pairs):
                alone.append(milliseconds(mlp(depth, residual, epochs=4), STEPS, name="project"))
                ten.append(milliseconds(together, STEPS, replicas=10, name="project"))
                stacked.append(milliseconds([*together, "trainer.engine=stacked"], STEPS, replicas=10, name="project"))
                threads.append(milliseconds(together, STEPS, replicas=10, name="project", threads=cores))
                processes.append(at_once(cores, together, 10))
            row = [str(depth), "residual" if residual else "plain", f"{median(alone):.2f}", f"{median(ten):.2f}"]
            row += [ratio(ten, alone), f"{median(stacked):.2f}", ratio(ten, stacked)]
            row += [f"{median(threads):.2f}", f"{median(processes):.2f}", ratio(processes, threads)]
            rows.append(row)
            say(" | ".join(row))
    header = ["depth", "", "one at a time", "ten together", "one / ten", "ten, engine stacked", "stacked / fused"]
    several = [f"one process, {cores} threads", f"{cores} processes, one thread each", "threads / processes"]
    return table(header + several, rows)


def at_once(processes: int, overrides: list[str], replicas: int) -> float:
    """Milliseconds a step and replica of the whole machine, with this many processes at the same time."""
    started = [start([*overrides, f"seed={100 * i}"], name="project") for i in range(processes)]
    times = [median(finish(process)["epochs"][1:]) for process in started]
    return float(1 / sum(STEPS * replicas / t for t in times) * 1e3)


def diagnostics(pairs: int) -> list[str]:
    """What measuring gradients at the default cadence costs at depth 100: whole epochs, with and without."""
    whole = [*mlp(100, True, epochs=4), "trainer.steps_per_epoch=null"]
    steps = 59_000 // BATCH + 1
    on, off = [], []
    for _ in range(pairs):
        off.append(milliseconds([*whole, "trainer.diagnostics=off"], steps, name="project"))
        on.append(milliseconds(whole, steps, name="project"))
    costs = sorted(100 * (a / b - 1) for a, b in zip(on, off, strict=True))
    cost = f"{median(costs):+.1f} % ({costs[0]:+.1f} to {costs[-1]:+.1f})"
    header = ["depth 100, residual", "diagnostics=off, ms a step", "diagnostics=epoch", "cost"]
    return table(header, [["whole epochs of MNIST", f"{median(off):.2f}", f"{median(on):.2f}", cost]])


def convolutional(pairs: int) -> list[str]:
    """The CNN of the original study on CIFAR-10, all cores, in single precision and in bfloat16."""
    cores = os.cpu_count() or 1
    overrides = [*CNN, *COMMON, "trainer.epochs=3"]
    ours, half, theirs = [], [], []
    for _ in range(pairs):
        ours.append(milliseconds(overrides, 6, name="project", threads=cores))
        half.append(milliseconds([*overrides, "trainer.precision=bf16"], 6, name="project", threads=cores))
        theirs.append(milliseconds(overrides, 6, name="plain", threads=cores, workers=2))
    rows = [
        ["here, fp32", f"{median(ours):.0f}", ratio(ours, theirs)],
        ["here, bf16", f"{median(half):.0f}", ratio(half, theirs)],
        ["plain, fp32 (2 workers)", f"{median(theirs):.0f}", ""],
    ]
    return table(["CNN 32-64-128-256, batch 256", "ms a step", "plain / here"], rows)


def say(line: str) -> None:
    """Progress, on standard error."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="PART", default=[], help="on a CPU: " + ", ".join(PARTS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: other tables, see benchmarks/gpu.py")
    parser.add_argument("--write", type=Path)
    parser.add_argument(
        "--jax", metavar="PYTHON", default=sys.executable if find_spec("jax") else None, help="a Python that has jax"
    )
    options = parser.parse_args()
    if options.device == "cuda":
        from benchmarks import gpu

        known: tuple[str, ...] = tuple(gpu.PARTS)
    else:
        known = PARTS
    if odd := set(options.only) - set(known):
        parser.error(f"--only {' '.join(sorted(odd))}: must be among {', '.join(known)}")
    if options.device == "cuda":
        gpu.measure(options.only, options.write)
        return
    floors = json.loads(subprocess.run(
        [sys.executable, "-m", "benchmarks.floors"], capture_output=True, encoding="utf-8", check=True
    ).stdout)  # fmt: skip
    say(floors["machine"])
    agreement = gate()
    parts: dict[str, tuple[str, str, Callable[[], list[str]]]] = {
        "mlp": ("One network", ONE_NETWORK, lambda: one_seed(floors, options.pairs, options.jax)),
        "seeds": ("Ten seeds", TEN_SEEDS, lambda: many_seeds(options.pairs)),
        "diagnostics": ("Gradient diagnostics", "", lambda: diagnostics(options.pairs)),
        "cnn": ("CNN", "CIFAR-10 with augmentation, all cores.", lambda: convolutional(options.pairs)),
    }
    sections = sections_of(options.write)
    for part in options.only or PARTS:
        title, intro, measured = parts[part]
        lines = [circumstances(options.pairs, part, floors), "", *([intro, ""] if intro else []), *measured()]
        sections |= {"Do they do the same?": "\n".join(agreement), title: "\n".join(lines)}
        text = page("Side by side", sections)
        if options.write:  # after each part, so that none is lost
            options.write.write_text(text, encoding="utf-8")
    print(text)


def page(title: str, sections: dict[str, str]) -> str:
    """The page in Markdown."""
    return "\n\n".join([f"# {title}", *(f"## {name}\n\n{content}" for name, content in sections.items())]) + "\n"


def circumstances(pairs: int, part: str, floors: dict[str, Any]) -> str:
    """When, how and on what a part was measured."""
    convolutions, rates = floors["convolutions_ms"], floors["sgemm_gflops"].items()
    return (
        f"Measured on {date.today().isoformat()} by `python -m benchmarks.side_by_side --pairs {pairs}` (part `{part}`). "
        f"{floors['machine']}. Floors, from the same run: SGEMM "
        + ", ".join(f"{rate:.0f} GFLOP/s with {threads} thread{'s' * (threads != '1')}" for threads, rate in rates)
        + f"; 32x32 times 32x128 {floors['small_gflops']:.0f} GFLOP/s; copy {floors['copy_gbytes']:.1f} GB/s; "
        f"{floors['eager_us']:.2f} µs for the smallest eager operation. Four 3x3 convolutions of 32 channels: "
        f"{convolutions['one after another']:.1f} ms one after another, {convolutions['grouped']:.1f} ms as one grouped "
        "convolution."
    )


def sections_of(page: Path | None) -> dict[str, str]:
    """The sections of a page that was written before, by their titles; parts that are not measured now stay as they are."""
    if page is None or not page.exists():
        return {}
    _, *sections = page.read_text(encoding="utf-8").split("\n## ")
    return {title: content.strip("\n") for title, _, content in (section.partition("\n") for section in sections)}


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
