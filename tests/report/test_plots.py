"""Plots of a report as PNG: what they tell, and that they are written from any state."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rasterio.io import MemoryFile
from shapely import box

from s2async.cli.commands import cli
from s2async.config.model import Config
from s2async.errors import ConfigError
from s2async.models import Area, Status
from s2async.report import curve_plots, figures, plots
from s2async.report.data import POINTS, Look, Saving, Scatter, Watched
from s2async.report.plots import Months, PlotData
from s2async.report.style import colours
from s2async.report.values_section import Valued
from s2async.state.reader import Ledger
from s2async.state.writer import State
from tests.support import worlds
from tests.support.curves import curve, value
from tests.support.lanes import few_quick
from tests.support.worlds import Stage

matplotlib = pytest.importorskip("matplotlib", reason="the extra plots is not installed")


NOTHING = Saving(whole=0, skipped=0, moved=0, files=0, estimated=0, unknown=0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    yield from worlds.staged(tmp_path_factory.mktemp("world"))


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def size_of(path: Path) -> tuple[int, int]:
    with MemoryFile(path.read_bytes()) as file, file.open(driver="PNG") as raster:
        return raster.width, raster.height


def area(name: str) -> Area:
    return Area(name=name, wkb=box(13, 52, 13.1, 52.1).wkb, fingerprint="0" * 16, folder="a")


def look(day: date, status: str = Status.SAVED, scene: float = 10.0, inside: float = 0.0) -> Look:
    item = f"{day}{scene}{inside}"
    return Look(day=day, item=item, grid="33UUU", status=status, scene_cloud=scene, area_cloud=inside)


def months_of(*areas: Watched) -> Months:
    months = Months()
    for watched in areas:
        months.add(watched)
    return months


def plot_data(
    months: Months | None = None, *, scatter: Scatter | None = None, saved: Saving = NOTHING
) -> PlotData:
    return PlotData(months=months or Months(), scatter=scatter or Scatter(), saved=saved, max_area=2, crops=True)


def texts(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_command_writes_three_plots_and_no_page(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = worlds.run(path, stage.sandbox).config
    result = ask("report", path, "--png", tmp_path / "plots")
    assert "wrote clouds.png, months.png, bytes.png" in result.output
    assert sorted(found.name for found in (tmp_path / "plots").iterdir()) == [
        "bytes.png",
        "clouds.png",
        "months.png",
    ]
    for found in (tmp_path / "plots").iterdir():
        width, height = size_of(found)
        assert 700 < width < 4000
        assert 200 < height < 4000
    assert not list(config.output.folder.glob("*.html"))


def test_the_counts_by_month_are_those_of_the_state(tmp_path: Path, stage: Stage) -> None:
    config = worlds.run(worlds.write_config(tmp_path, stage.sandbox), stage.sandbox).config
    with Ledger.read(config.run.state) as state:
        found_data = plots.gathered(state, config)
    lines = (config.output.folder / "overview.csv").read_text().splitlines()[1:]
    saved = Counter((line.split(",")[0], line.split(",")[2][:7]) for line in lines)
    found = {
        (name, f"{year}-{month:02}"): count
        for name, counts in found_data.months.rows
        for (year, month), count in counts.items()
    }
    assert found == saved
    assert sorted(texts(plots.by_month(found_data))) == sorted(map(str, saved.values()))
    figure = plots.clouds(found_data)
    assert figure
    drawn = sum(len(collection.get_offsets()) for collection in figure.axes[0].collections)
    assert drawn == found_data.scatter.count > 10


def test_months_without_a_view_are_shown_and_years_are_told(tmp_path: Path) -> None:
    days = [date(2021, 11, 3), date(2021, 11, 9), date(2022, 2, 1)]
    figure = plots.by_month(plot_data(months_of(Watched(area=area("a"), looks=tuple(map(look, days))))))
    assert figure
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["Nov\n2021", "Dec", "Jan\n2022", "Feb"]
    assert texts(figure) == ["2", "1"]


def test_only_clear_views_count() -> None:
    looks = (look(date(2022, 1, 1)), look(date(2022, 1, 2), Status.CLOUDY), look(date(2022, 2, 2), Status.FAILED))
    assert months_of(Watched(area=area("a"), looks=looks)).all == {(2022, 1): 1}


def test_many_areas_are_told_as_their_sum(tmp_path: Path) -> None:
    one = (look(date(2022, 1, 1)), look(date(2022, 3, 1)), look(date(2022, 3, 2)))
    months = months_of(*(Watched(area=area(f"a{number}"), looks=one) for number in range(plots.AREAS + 1)))
    assert not months.rows
    assert [text for text in texts(plots.by_month(plot_data(months))) if text] == ["41", "0", "82"]


def test_many_points_become_squares() -> None:
    scatter = Scatter()
    looks = tuple(look(date(2022, 1, 1), scene=number % 100) for number in range(POINTS + 1))
    scatter.add(Watched(area=area("a"), looks=looks))
    figure = plots.clouds(plot_data(scatter=scatter))
    assert figure
    (squares,) = figure.axes[0].collections
    assert len(squares.get_offsets()) == 50


def test_the_bar_is_all_of_the_whole_files() -> None:
    saved = Saving(whole=1000, skipped=300, moved=100, files=2, estimated=0, unknown=0)
    figure = plots.downloaded(plot_data(saved=saved))
    assert figure
    (axes,) = figure.axes
    widths = [patch.get_width() for container in axes.containers for patch in container]
    assert widths == [pytest.approx(30), pytest.approx(60), pytest.approx(10)]


def test_without_data_there_are_no_plots() -> None:
    assert [plot(plot_data()) for plot in plots.PLOTS.values()] == [None] * 4


def test_the_colours_are_those_of_the_pages() -> None:
    """The same clear and cloudy as in the page's legend, in its light scheme."""
    assert colours()["clear"] == "#0b8078"
    assert colours()["cloudy"] == "#a3aeb3"
    saved = Saving(whole=1000, skipped=300, moved=100, files=2, estimated=0, unknown=0)
    figure = plots.downloaded(plot_data(saved=saved))
    assert figure
    faces = [matplotlib.colors.to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches]
    assert faces == [colours()["cloudy"], colours()["window"], colours()["clear"]]


@pytest.mark.parametrize(
    "name", few_quick(["$x^{$", "a\x1b[31mb", "x" * 500, "\u202ereversed", "\ud800", "\u5317\u4eac"], 2)
)
def test_names_are_text_whatever_they_are(name: str) -> None:
    watched = Watched(area=area(name), looks=(look(date(2022, 1, 1)),))
    with matplotlib.rc_context(plots.settings()):
        figure = plots.by_month(plot_data(months_of(watched)))
        assert figure
        (label,) = (label.get_text() for label in figure.axes[0].get_yticklabels())
        assert len(label) <= figures.LETTERS
        assert "\x1b" not in label
        assert plots.encoded(figure).startswith(b"\x89PNG")


def test_an_empty_state_has_nothing_to_show(tmp_path: Path, stage: Stage) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    config.run.state.parent.mkdir()
    State.create_or_open(config.run.state).close()
    assert "there is nothing to show yet" in ask("report", path, "--png", tmp_path / "plots").output
    assert not list((tmp_path / "plots").iterdir())


def test_without_matplotlib_there_is_one_line(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox)
    config = Config.load(path)
    config.run.state.parent.mkdir()
    State.create_or_open(config.run.state).close()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"--png needs matplotlib: pip install 's2async\[plots\]'"):
        raise ask("report", path, "--png", tmp_path / "plots").exception or AssertionError
    assert not (tmp_path / "plots").exists()


# ---- values -----------------------------------------------------------------------------------------------


def offsets(axes: Any) -> list[tuple[float, float]]:
    """Places of the points in the newest year: share of the width, and value."""
    return [(float(x), float(y)) for x, y in axes.collections[-1].get_offsets()]


def test_many_areas_have_small_curves_with_the_same_axes() -> None:
    valued = Valued()
    for name, low in (("a", 0.2), ("b", 0.4), ("none", 0.0)):
        curves = (curve(value(0, low), value(364, low + 0.3)),) if name != "none" else ()
        valued.add(Watched(area=area(name), looks=(), curves=curves), name=name)
    with matplotlib.rc_context(plots.settings()):
        figure = curve_plots.multiples(valued)
        assert figure
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b"]
        assert [number for axes in figure.axes for number in axes.get_ylim()] == pytest.approx([0.2, 0.7] * 2)
        assert [y for axes in figure.axes for _, y in offsets(axes)] == pytest.approx([0.2, 0.5, 0.4, 0.7])
        assert plots.encoded(figure).startswith(b"\x89PNG")


def test_each_area_has_a_plot_of_all_its_curves() -> None:
    ndvi = curve(
        value(date(2021, 7, 1), 0.1), value(date(2022, 1, 1), 0.3), value(date(2022, 7, 1), 0.6, clear=50)
    )
    moist = curve(value(date(2022, 7, 1), 0.0, around=None), name="$M$", band="")
    found = dict(plots.figures(replace(plot_data(), curves={"curves-a": (ndvi, moist)})))
    assert list(found) == ["curves-a"]
    first, second = found["curves-a"].axes
    assert first.get_title(loc="left") == "NDVI, 2022; paler: 2021"
    assert second.get_title(loc="left") == "$M$, 2022"
    (x0, y0), (x1, y1) = offsets(first)
    assert [x0, x1] == pytest.approx([0.5 / 366, 182.5 / 366])
    assert (y0, y1) == (0.3, 0.6)
    sizes = first.collections[-1].get_sizes()
    assert sizes[1] == pytest.approx(sizes[0] / 2), "the share that is clear"
    assert [len(line.get_xdata()) for line in first.lines] == [1, 1, 1], "half a year is a gap"
