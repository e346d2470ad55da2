"""What a benchmark has found is counted right, kept, drawn and written as it is."""

from __future__ import annotations

import math
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from benchmarks import document, trees
from benchmarks.figures import Samples, percentile, text
from benchmarks.plot import svg
from benchmarks.result import Line, Plot, Result, Table, load
from benchmarks.setting import Setting


def found() -> Result:
    result = Result("latency", "Latency", "How it was measured.", date="2026-11-22", machine="2 cores")
    result.tables.append(Table("10 files", ["", "p50"], [["limit", "1.00"], ["Headgate", "1.50"]]))
    result.goal("reached", 1.5, 2.0)
    result.goal("missed", 2.5, 2.0)
    lines = [Line("a & b", [(10, 1.5), (1000, 2.5)])]
    result.plots.append(Plot("lines.svg", "Lines", "files", "ms", lines))
    result.plots.append(Plot("bars.svg", "Bars", "", "ms", [Line("a", [(0, 3.0), (1, 40.0)])], ["x", "y"]))
    return result


def test_percentile_is_a_value_that_so_many_do_not_exceed() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile([5.0], 99) == 5.0
    assert math.isnan(percentile([], 50))


def test_ratio_is_of_medians_not_of_means() -> None:
    samples = Samples()
    samples.add("ours", 1, 2, 300)
    samples.add("limit", 1, 1, 1)
    assert samples.ratio("ours", "limit") == 2
    assert text(samples.median("nothing")) == "-"


def test_goal_that_is_missed_is_said_to_be_missed(tmp_path: Path) -> None:
    written = tmp_path / "performance.md"
    document.write([found()], written)
    words = written.read_text()
    assert "1 of 2 are met" in words
    assert "| missed | <= 2 x | 2.5 x | NOT MET |" in words
    assert "NOT MET missed" in document.terminal(found())


def test_figure_that_could_not_be_taken_does_not_count_as_met() -> None:
    result = found()
    result.goal("not measured", math.nan, 2.0)
    assert not result.goals[-1].met


def test_result_is_kept_as_it_is(tmp_path: Path) -> None:
    found().save(tmp_path)
    assert load(tmp_path / "latency.json") == found()


def test_plots_are_pictures(tmp_path: Path) -> None:
    for plot in found().plots:
        root = ET.fromstring(svg(plot))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "a &amp; b" in svg(found().plots[0])


def test_rounds_end_with_the_time_but_one_is_always_made(tmp_path: Path) -> None:
    assert list(Setting(tmp_path, quick=False, minutes=0).rounds(5)) == [0]
    assert list(Setting(tmp_path, quick=False, minutes=5).rounds(5)) == [0, 1, 2, 3, 4]


def test_differences_name_what_is_wrong_missing_or_too_much(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    trees.grow(source, 3, 200)
    trees.clone(source, target)
    assert not list(trees.differences(source, target))
    (target / trees.place(0)).unlink()
    (target / trees.place(1)).unlink()
    (target / trees.place(1)).write_bytes(b"other")
    (target / "more").write_bytes(b"")
    assert sorted(trees.differences(source, target)) == [trees.place(0), trees.place(1), "more"]


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_observer_tells_whole_files_from_torn_ones(tmp_path: Path) -> None:
    source = Path(document.__file__).parent / "limits" / "observer.c"
    program, file = tmp_path / "observer", tmp_path / "file"
    subprocess.run(["cc", "-o", program, source], check=True)
    file.write_bytes(trees.hot(1, rendered=True))
    command = [str(program), str(trees.HOT_BYTES), "rendered", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as observer:
        assert observer.stdout is not None
        assert observer.stdout.readline().split()[:2] == ["0", "1"]
        assert observer.stdout.readline() == "ready\n"
        file.write_bytes(trees.hot(2, rendered=True)[:2000])
        file.write_bytes(trees.hot(3))  # not rendered
        beside = tmp_path / "beside"
        beside.write_bytes(trees.hot(4, rendered=True))
        beside.rename(file)
        _, number, _, torn, missing = map(int, observer.stdout.readline().split())
        observer.kill()
    assert number == 4
    assert torn >= 1
    assert missing == 0
