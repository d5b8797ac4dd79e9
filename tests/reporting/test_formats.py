import io
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest

from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.reporting import render as html
from braindecode_ssr.reporting import render as latex
from braindecode_ssr.reporting import render as markdown
from braindecode_ssr.reporting.render import (
    FORMATS,
    MARK,
    Report,
    Section,
    Table,
    as_text,
    check_places,
    write_report,
)
from braindecode_ssr.retrieval.evaluations import FLAGS

NASTY = r"a&b_c%d$e#f{g}h~i^j\k<l>|m*n`o[p]" + MARK


@pytest.fixture
def nasty():
    table = Table("accuracy", NASTY, (NASTY, "x"), ((NASTY, "[1]"), ("–", NASTY)), (NASTY,))
    return Report(NASTY, (Section(NASTY, (table,)),), pd.DataFrame({"method": [NASTY]}))


def pipes(line):
    return line.replace("\\|", "").count("|")


def test_markdown_tables_have_a_cell_for_every_column(made, nasty):
    for report in (made, nasty):
        lines = [line for line in markdown.markdown(report).splitlines() if line.startswith("|")]
        assert lines
        for section in report.sections:
            for table in section.tables:
                own = markdown.markdown_table(table).splitlines()
                assert {pipes(line) for line in own} == {len(table.head) + 1}
                assert len(own) == len(table.rows) + 2 and len({len(line) for line in own}) == 1


def test_markdown_escapes():
    assert markdown.escape_markdown("a|b*c_d<e>\nf") == r"a\|b\*c\_d\<e\> f"


class Reader(HTMLParser):
    """Texts of cells, and whether tags are closed and nothing is fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.fetched = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.cells += [""] if tag in ("td", "th") else []
        self.fetched += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]
        assert tag not in ("link", "l")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_html_is_whole_and_stands_alone(made, nasty):
    for report in (made, nasty):
        reader = Reader()
        reader.feed(html.html(report))
        assert reader.open == [] and reader.fetched == []
        wanted = [
            cell
            for section in report.sections
            for table in section.tables
            for row in (table.head, *table.rows)
            for cell in row
        ]
        assert reader.cells == wanted


def test_latex_escapes():
    assert latex.escape_latex(r"5 % of a_b & c\d") == r"5 \% of a\_b \& c\textbackslash{}d"
    assert latex.escape_latex(f"[1, 2] {MARK} – ~^") == (
        r"{[}1, 2{]} \textsuperscript{\textdagger} -- \textasciitilde{}\textasciicircum{}"
    )


def test_latex_rows_have_a_cell_for_every_column_and_braces_are_closed(made, nasty):
    for report in (made, nasty):
        for section in report.sections:
            for table in section.tables:
                text = latex.latex_table(table, "tab:x_1")
                rows = [line for line in text.splitlines() if line.endswith(r" \\")]
                assert {line.replace(r"\&", "").count("&") for line in rows} == {
                    len(table.head) - 1
                }
                bare = text.replace(r"\{", "").replace(r"\}", "")
                assert bare.count("{") == bare.count("}")
                for rule in ("toprule", "midrule", "bottomrule"):
                    assert text.count(f"\\{rule}") == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_compiles(made, nasty, tmp_path):
    for number, report in enumerate((made, nasty)):
        document = (
            "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
            + latex.latex(report)
            + "\\end{document}\n"
        )
        (tmp_path / f"d{number}.tex").write_text(document, encoding="utf-8")
        call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"d{number}.tex"]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.parametrize("form", FORMATS)
def test_a_leaky_row_is_marked_in_every_format_with_what_it_means(made, form):
    text = as_text(made, form)
    assert FLAGS["altered-gallery"] in " ".join(text.replace("\\-", "-").split())
    if form == "csv":
        table = pd.read_csv(io.StringIO(text)).set_index("evaluation")
        assert table.loc["gallery=views", "flags"] == "altered-gallery"
        assert table.loc["default", "flags"].isna().all()
    else:
        assert (r"\textdagger" if form == "latex" else MARK) in text


def test_files(made, tmp_path):
    names = {
        form: [path.name for path in write_report(made, form, tmp_path / form)] for form in FORMATS
    }
    assert names == {
        "md": ["report.md"],
        "csv": ["summary.csv", "subjects.csv", "tests.csv"],
        "latex": ["report.tex"],
        "html": ["report.html"],
    }
    assert (tmp_path / "md" / "report.md").read_text(encoding="utf-8") == markdown.markdown(made)
    assert pd.read_csv(tmp_path / "csv" / "tests.csv")["n_subjects"].tolist() == [6]


def test_a_place_that_is_a_file(made, tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_report(made, "md", tmp_path / "x")


def test_choices(made):
    with pytest.raises(UsageError, match="did you mean 'latex'"):
        as_text(made, "latec")
    with pytest.raises(UsageError, match="add --out"):
        check_places("md", None, True)
    check_places("html", None, True)
    check_places("md", None, False)
