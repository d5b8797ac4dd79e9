"""The page of a report in a real browser, where there is one."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from braindecode_ssr.reporting import read_results
from braindecode_ssr.reporting.render import html
from braindecode_ssr.reporting.run_figures import learning_curves, retrieval_grids

CHROMIUM = shutil.which("chromium")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --window-size=1280,1600"
).split()
CLICK = """<script>
const heads = [...document.querySelectorAll("thead th")].filter(th => th.textContent === "top-1 (%)");
heads[0].click(); heads[0].click();
const rows = [...heads[0].closest("table").rows].slice(1).map(row => row.cells[0].textContent);
const page = document.documentElement;
const wide = [...document.querySelectorAll("figure")].filter(f => f.scrollWidth > f.clientWidth + 1).length;
document.title = [page.scrollWidth <= page.clientWidth, wide, rows.join()].join(" | ");
</script></body>"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_the_page_is_drawn_fits_and_sorts_without_an_error(run_folder, made, tmp_path):
    results = read_results([run_folder])
    pictures = tuple(learning_curves(results.trained))
    page = tmp_path / "report.html"
    grids = retrieval_grids(results.trained, tmp_path)
    text = html(replace(made, pictures=pictures, grids=grids))
    page.write_text(text.replace("</body>", CLICK), encoding="utf-8")
    shot, profile = tmp_path / "shot.png", f"--user-data-dir={tmp_path / 'profile'}"
    call = [CHROMIUM, *OPTIONS, profile, f"--screenshot={shot}", "--dump-dom", page.as_uri()]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape[1] == 1280 and 0.01 < (pixels < 128).mean() < 0.5
    [title] = re.findall("<title>(.*?)</title>", done.stdout)
    fits, wide, rows = title.split(" | ")
    assert (fits, wide) == ("true", "0")
    assert rows == "ssr,nice,ceiling,chance"
