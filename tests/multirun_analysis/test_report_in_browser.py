"""report.html in headless Chromium: `python -m pytest -m slow tests/multirun_analysis/test_report_in_browser.py`."""

import json
import re
import shutil
import subprocess

import pytest
from synthetic import write_run, write_study

from multirun_analysis.__main__ import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--v=0",
         "--virtual-time-budget=5000"]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]

# Added behind the page's own script: sorts the first table by clicks on its heads and leaves what it saw in the page.
PROBE = """<script>
addEventListener("load", () => {
const table = document.querySelector("#results table");
const column = (name) => Array.from(table.tHead.rows[0].cells).findIndex((head) => head.innerText.startsWith(name));
const texts = (name) => Array.from(table.tBodies[0].rows, (row) => row.cells[column(name)].innerText);
const press = (name) => { table.tHead.rows[0].cells[column(name)].querySelector("button").click(); return texts(name); };
const seen = { before: texts("Depth"), up: press("Depth"), down: press("Depth"), interval: press("Test 95 %") };
seen.text = press("Residual");
seen.sorted = Array.from(table.tHead.rows[0].cells).filter((head) => head.ariaSort).map((head) => head.innerText);
seen.focusable = table.querySelector("button").tabIndex;
seen.images = Array.from(document.images, (image) => image.complete && image.naturalWidth > 100);
seen.requests = performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !name.startsWith("data:"));
seen.wider = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const mark = document.querySelector("#test_accuracies .marks span");
mark.scrollIntoView({ block: "center" });
const at = mark.getBoundingClientRect();
seen.silent = getComputedStyle(mark, "::after").content;
seen.under = document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2).dataset.run === mark.dataset.run;
mark.focus();
seen.told = getComputedStyle(mark, "::after").content;
const lines = (mark) => mark.dataset.run.split("\\n").length;
const told = (figure) => Array.from(figure.querySelectorAll(".marks span"), lines).reduce((a, b) => a + b, 0);
seen.marks = Array.from(document.querySelectorAll("figure"), told);
seen.alerted = window.alerted === true;
document.body.innerHTML = "<pre id=seen></pre>";
document.getElementById("seen").textContent = JSON.stringify(seen);
});
</script></body>"""


def browse(page, profile, *options):
    """The page after its scripts have run, and what the browser said on its console."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    study = write_study(tmp_path_factory.mktemp("study"), depths=[5, 20, 100], seeds=range(3), dataset__name="mnist")
    error = {"type": "E", "message": "<script>window.alerted = true</script>", "traceback": "<img src=https://example.com/x>"}
    write_run(study, 100, False, 5, status="failed", error=error, dataset__name="mnist")
    write_run(study, 200, True, 0, dataset__name="mnist")
    assert main([str(study)]) == 0
    return study / "report" / "report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_sorts_draws_and_asks_nothing_of_the_network(page, tmp_path, width):
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE))
    dom, console = browse(probed, tmp_path / "profile", f"--window-size={width},900")
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)[1].replace("&lt;", "<").replace("&gt;", ">"))
    assert console == []
    assert seen["before"] == ["5", "5", "20", "20", "100", "100", "200"]
    assert seen["up"] == ["5", "5", "20", "20", "100", "100", "200"]  # as numbers: as texts 100 would come first
    assert seen["down"] == ["200", "100", "100", "20", "20", "5", "5"]
    assert seen["interval"][-1] == "one seed: none"  # no number: last
    assert seen["text"] == ["False"] * 3 + ["True"] * 4
    assert [head.split()[0] for head in seen["sorted"]] == ["Residual"]
    assert seen["focusable"] == 0
    assert seen["images"] == [True] * 6
    assert seen["requests"] == []
    assert seen["silent"] == "none"
    assert seen["under"]  # and no other mark over it
    told = r'"test accuracy [0-9.]+ % · depth 5 · plain · seed 0 · mlp-mnist-depth=5-plain-\w+/seed=0\b'
    assert re.match(told, seen["told"])
    assert seen["marks"] == [38, 80, 80, 0, 0, 0]
    assert seen["wider"] <= 0  # tables scroll in their own box, the page does not
    assert not seen["alerted"]


def test_the_probe_would_see_an_error_and_a_request(page, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(
        page.read_text().replace("</body>", '<img src="https://example.com/x.png"><script>nothing()</script></body>')
    )
    _, console = browse(broken, tmp_path / "profile")
    assert any("nothing is not defined" in line for line in console)
    assert any("Content Security Policy" in line for line in console)
