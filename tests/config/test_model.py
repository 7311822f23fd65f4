"""The config: defaults, paths, the example, and one clear line for everything that can be wrong with it."""

from __future__ import annotations

import pickle
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from s2async.areas import loader
from s2async.catalog.providers import KNOWN
from s2async.clouds.scl import SclRule
from s2async.config import sections
from s2async.config.example import EXAMPLE, render, with_areas
from s2async.config.model import Config
from s2async.config.sections import CustomCatalog
from s2async.errors import ConfigError
from s2async.models import Selection
from s2async.reflectance.decision import Convention
from s2async.sandbox.truth import oracle
from s2async.sandbox.world.parks import PARKS
from tests.support.sections import field_docstrings

A = 'areas = "a.geojson"\n'
SECTIONS = ("search", "clouds", "output", "network", "run")


def load(tmp_path: Path, text: str | bytes) -> Config:
    file = tmp_path / "c.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Config.load(file)


def catalog(table: str) -> str:
    return f"{A}[search]\ncatalog = {table}"


BAD: list[tuple[str | bytes, str, str]] = [
    # what is in the file; where the line must begin; what it must say
    ("", ": areas: ", 'is missing; add areas = "parks.geojson"'),
    ("are = 'x'", ":1: are: ", 'did you mean "areas"?'),
    (A + "[serch]\na = 1", ":2: serch: ", 'did you mean "search"?'),
    (A + "[search]\nmax_scene_clud = 3", ":3: [search] max_scene_clud: ", 'did you mean "max_scene_cloud"?'),
    (
        A + "[search]\nqqqqqq = 3",
        ":3: [search] qqqqqq: ",
        "known: catalog, datetime, max_scene_cloud, order, overlaps, reprocessed",
    ),
    (A + "[search]\nmax_area_cloud = 1", ":3: [search] max_area_cloud: ", "it belongs to [clouds]"),
    ("max_area_cloud = 1\n" + A, ":1: max_area_cloud: ", "it belongs to [clouds]"),
    (A + "[run]\nname_field = 'x'", ":3: [run] name_field: ", "it belongs to the top of the file"),
    (
        A + "[search]\n\n# a\nmax_scene_cloud = '80'",
        ":5: [search] max_scene_cloud: ",
        'a number, not "80"; such as',
    ),
    (A + "[search]\nmax_scene_cloud = true", ":3: [search] max_scene_cloud: ", "must be a number, not true"),
    (A + "[search]\nmax_scene_cloud = nan", ":3: [search] max_scene_cloud: ", "must be a finite number, not nan"),
    (A + "[clouds]\nmax_area_cloud = inf", ":3: [clouds] max_area_cloud: ", "must be a finite number, not inf"),
    (A + "[search]\nmax_scene_cloud = 101", ":3: [search] max_scene_cloud: ", "must be from 0 to 100, not 101"),
    (A + "[clouds]\nmin_area_valid = -1", ":3: [clouds] min_area_valid: ", "must be from 0 to 100, not -1"),
    (A + "[clouds]\nmax_area_cloud = 0.125", ":3: [clouds] max_area_cloud: ", "more than two decimals; round it"),
    (A + "[network]\nconnections = true", ":3: [network] connections: ", "must be a whole number, not true"),
    (A + "[network]\nconnections = 3.0", ":3: [network] connections: ", "must be a whole number, not 3.0"),
    (A + "[network]\nconnections = 1000000000", ":3: [network] connections: ", "must be from 1 to 4096, not 1000"),
    (A + "[network]\nattempts = 0", ":3: [network] attempts: ", "from 1 to 20, not 0; such as attempts = 5"),
    (A + "[network]\nidle_timeout = 0", ":3: [network] idle_timeout: ", "must be more than 0 and at most 86400"),
    (A + "[run]\nqueue = 0", ":3: [run] queue: ", "must be from 1 to 1000000, not 0"),
    (A + "[clouds]\nclasses = [0, 1]", ":3: [clouds] classes: ", "class 0 is nodata and cannot be a bad class; "),
    (A + "[clouds]\nclasses = [12]", ":3: [clouds] classes: ", "12 is not an SCL class; use classes 1 to 11"),
    (A + "[clouds]\nclasses = [3, 3]", ":3: [clouds] classes: ", "class 3 is listed twice; remove one"),
    (A + "[clouds]\nclasses = 3", ":3: [clouds] classes: ", "must be a list [ ], not 3; such as classes = [1,"),
    (A + "[clouds]\nclasses = [3, '8']", ":3: [clouds] classes: ", 'must be a whole number, not "8"'),
    (A + "search = 3", ":2: search: ", "must be a table; write [search]"),
    (
        A + "[search]\ndatetime = '2022-12-31/2022-01-01'",
        ":3: [search] datetime: ",
        "ends before it starts; write the",
    ),
    (A + "[search]\ndatetime = '../..'", ":3: [search] datetime: ", "is open at both ends; give at least one"),
    (A + "[search]\ndatetime = '2022-02-30'", ":3: [search] datetime: ", "is not a date or time; write"),
    (A + "[search]\ndatetime = 2022-01-01", ":3: [search] datetime: ", "must be text in quotes"),
    (
        A + "[search]\nreprocessed = 'new'",
        ":3: [search] reprocessed: ",
        "must be 'newest' or 'all', not \"new\"; such as",
    ),
    (
        catalog("'earth-serch'"),
        ":3: [search] catalog: ",
        "not a known catalogue, nor a table { url, collection, assets ",
    ),
    (catalog("'earth-serch'"), ":3: [search] catalog: ", 'did you mean "earth-search"?'),
    (catalog("3"), ":3: [search] catalog: ", 'must be text in quotes, not 3; such as catalog = "earth-search"'),
    (
        catalog("{ url = 'http://h/v1', collection = 'a' }"),
        ":3: [search] catalog.url: ",
        'add "http://h" to origins',
    ),
    (catalog("{ url = 'ftp://h', collection = 'a' }"), ":3: [search] catalog.url: ", "is not an http(s) URL"),
    (
        catalog("{ url = 'https://h?a=1', collection = 'a' }"),
        ":3: [search] catalog.url: ",
        "end the URL before ?",
    ),
    (catalog("{ url = 'https://h/v1' }"), ":3: [search] catalog.collection: ", "is missing; add collection = "),
    (
        catalog("{ url = 'https://h', collection = ' ' }"),
        ":3: [search] catalog.collection: ",
        "is empty; write a text",
    ),
    (catalog("{ url = 'https://h', collection = 'a', asets = 1 }"), ":3: [search] catalog.asets: ", '"assets"?'),
    (
        catalog("{ url = 'https://h', collection = 'a', assets = {} }"),
        ":3: [search] catalog.assets: ",
        'add scl = "',
    ),
    (
        catalog("{ url = 'https://h', collection = 'a', assets = {scl=3} }"),
        ":3: [search] catalog.assets.scl: ",
        "text",
    ),
    (A + "[output]\nassets = ['a', 'A']", ":3: [output] assets: ", "is listed twice"),
    (A + "[output]\nassets = ['../a']", ":3: [output] assets: ", "cannot be part of a file name; use letters"),
    (A + "[output]\nmask = 'yes'", ":3: [output] mask: ", 'must be true or false, not "yes"; such as mask = true'),
    (A + "[output]\nfolder = ''", ":3: [output] folder: ", "is not a path; name a file or folder"),
    (A + "[output]\nfolder = 'a\\u0000b'".replace("'", '"'), ":3: [output] folder: ", "is not a path; name a"),
    (A + "[run]\nmemory = '128 mb'", ":3: [run] memory: ", '"128 mb" is not a size; write'),
    (
        A + "[run]\nmemory = '1 MiB'",
        ":3: [run] memory: ",
        'too few for the tiles of one read; write at least "16 MiB"',
    ),
    (A + "[run]\nreserve = -1", ":3: [run] reserve: ", "is not a whole number of bytes from 0 to 1 PiB; write"),
    (A + "[run]\nstate = 'data'", ":3: [run] state: ", "is the output folder itself; name a file"),
    (
        A + "[run]\nstate = 'data/overview.csv'",
        ":3: [run] state: ",
        "the table that every run overwrites; name ano",
    ),
    ("areas = 'data/overview.csv'", ":1: areas: ", "is the table that every run overwrites; name another file"),
    (A + "[network]\norigins = ['x.org']", ":3: [network] origins: ", "write scheme://host[:port], such as"),
    (
        A + "[network]\norigins = ['https://*.x.org']",
        ":3: [network] origins: ",
        "write scheme://host[:port], such as",
    ),
    (A + "[network]\norigins = ['https://x.org/a']", ":3: [network] origins: ", "drop the path"),
    (A + "[network]\norigins = ['https://x.org:99999']", ":3: [network] origins: ", "write scheme://host[:port]"),
    ('areas = "C:\\temp\\fields.geojson"', ":1: areas: ", "write C:/Users/... or single quotes"),
    ('areas = "\\\\\\\\server\\new.csv"', ":1: areas: ", "write C:/Users/... or single quotes"),
    (A + '[run]\nstate = "D:\\runs\\run.sqlite"', ":3: [run] state: ", "write C:/Users/... or single quotes"),
    (f"areas = '{'a' * 300}.csv'", ":1: areas: ", "is not a path that can be followed (File name too long); name"),
    (A + f"[run]\nstate = '{'b' * 300}/c'", ":3: [run] state: ", "can be followed (File name too long); name"),
    ("areas = 3", ":1: areas: ", "must be a path in quotes, not 3; such as"),
    ("[areas]\nname = 'a'\nwkt = 'b'", ":1: areas: ", "write [[areas]] with double brackets"),
    ("areas = [1]", ":1: [[areas]]: ", "must be a table; write [[areas]]"),
    (
        "[[areas]]\nname='a'\nwkt='b'\n[[areas]]\nname='b'\nwkkt='c'",
        ":6: [[areas]] wkkt: ",
        'mean "wkt"? (and 1 more)',
    ),
    ("[[areas]]\nname='a'\nwkt='b'\n[[areas]]\nname='b'", ":4: [[areas]] wkt: ", 'is missing; add wkt = "POLYGON'),
    ("[[areas]]\nname = 3\nwkt = 'b'", ":2: [[areas]] name: ", 'must be text in quotes, not 3; such as name = "'),
    (A + "crs = '25833'", ":2: crs: ", 'is not of the right form; such as crs = "EPSG:25833"'),
    (A + "encoding = ''", ":2: encoding: ", "is empty; write a text"),
    (A + "invalid = 'ignore'", ":2: invalid: ", "must be 'refuse', 'skip' or 'repair', not"),
    (A + "buffer = 0", ":2: buffer: ", "must be more than 0 and at most 100000"),
    (A + "columns = 'crop'", ":2: columns: ", "must be"),
    (A + "layer = ''", ":2: layer: ", "is empty; write a text"),
    (A + "name_field = ''", ":2: name_field: ", "is empty; write a text"),
    (A + A, ":2: not TOML: ", "is written twice; remove one"),
    (A + "[run]\n[run]\n", ":3: not TOML: ", "is written twice; remove one"),
    (A + "x = 1\nx =\n[search]\n", ":3: not TOML: ", "invalid value at column 4; correct this line"),
    ("areas = [", ":1: not TOML: ", "correct this line"),
    (f"areas = {'[' * 5000}", ": ", "nested too deeply; write a plain config"),
    (A.encode() + b"name_field = '\xff'", ":2: ", "not UTF-8; save the file as UTF-8"),
    (A.encode("utf-16"), ":1: ", "not UTF-8; save the file as UTF-8"),
]


@pytest.mark.parametrize(("text", "place", "says"), BAD)
def test_bad_config_is_one_clear_line(tmp_path: Path, text: str | bytes, place: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path}/c.toml{place}"), line
    assert says in line
    assert "; " in line, "what to do comes after a semicolon"
    assert line.isprintable(), "one line, no control characters"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("url", ["https://user:canary@h/v1", "http://canary@h", "https://:canary@h"])
def test_secrets_are_not_repeated(tmp_path: Path, url: str) -> None:
    table = f"{{ url = '{url}', collection = 'a' }}"
    for text in (catalog(table), f"{A}[network]\norigins = ['{url}']"):
        with pytest.raises(ConfigError, match="holds a user name or password") as caught:
            load(tmp_path, text)
        assert "canary" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file; write one with: s2async init "):
        Config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read .*; name a readable TOML file"):
        Config.load(tmp_path)


def test_defaults_are_the_contract(tmp_path: Path) -> None:
    plain = load(tmp_path, A)
    assert plain.areas == tmp_path / "a.geojson"
    assert (plain.name_field, plain.crs) == ("name", None)
    assert plain.search.model_dump() == {
        "catalog": "earth-search",
        "datetime": "2022-01-01/2022-12-31",
        "order": None,
        "max_scene_cloud": 80,
        "reprocessed": "newest",
        "overlaps": None,
    }
    assert plain.clouds.model_dump() == {"classes": (1, 3, 8, 9, 10), "max_area_cloud": 2, "min_area_valid": 95}
    assert plain.output.model_dump() == {
        "folder": tmp_path / "data",
        "assets": ("visual",),
        "mask": True,
        "quicklook": False,
        "reflectance": "published",
    }
    assert plain.network.model_dump() == {
        "origins": (),
        "private_origins": (),
        "headers": {},
        "connections": 64,
        "connect_timeout": 10,
        "idle_timeout": 30,
        "total_timeout": 300,
        "attempts": 5,
        "patience": 300,
    }
    assert plain.run.model_dump() == {
        "state": tmp_path / "data" / "state.sqlite",
        "queue": 1000,
        "memory": 50_331_648,
        "reserve": 268_435_456,
        "verify": False,
        "confirm_above": 53_687_091_200,
        "log": None,
    }


def test_the_oracle_knows_the_default_limits_of_clouds() -> None:
    clouds = sections.Clouds()
    limits = (set(clouds.classes), clouds.max_area_cloud, clouds.min_area_valid)
    assert limits == (set(oracle.BAD_CLASSES), oracle.MAX_CLOUD, oracle.MIN_VALID)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.toml").write_text(A + "[output]\nfolder = '../out'\n[run]\nstate = '/abs/s.sqlite'")
    monkeypatch.chdir(tmp_path)
    found = Config.load(Path("sub/c.toml"))
    assert found.areas == tmp_path / "sub" / "a.geojson"
    assert found.output.folder == tmp_path / "out"
    assert found.run.state == Path("/abs/s.sqlite").resolve()


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_byte_order_mark_and_windows_lines(tmp_path: Path, prefix: bytes, newline: bytes) -> None:
    text = A.encode() + "name_field = 'ä'\n[run]\nqueue = 5\nqueu = 3".encode()
    with pytest.raises(ConfigError, match=r":5: \[run\] queu: "):
        load(tmp_path, prefix + text.replace(b"\n", newline))
    assert load(tmp_path, prefix + text.replace(b"queu = 3", b"").replace(b"\n", newline)).name_field == "ä"


def test_accepted_variants(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        A
        + "[clouds]\nclasses = []\nmax_area_cloud = 0.07\n[output]\nassets = []\n"
        + "[network]\norigins = ['HTTP://Ex.org:80/', 'https://ex.org:8443']\nidle_timeout = 0.5",
    )
    assert found.clouds.classes == ()
    assert found.clouds.max_area_cloud == 0.07
    assert found.output.assets == ()
    assert found.network.origins == ("http://ex.org", "https://ex.org:8443")


def test_known_catalogue_brings_its_origins(tmp_path: Path) -> None:
    found = load(tmp_path, A + "[network]\norigins = ['https://more.org']")
    assert found.search.resolve() is KNOWN["earth-search"]
    allowed = found.allowed_origins()
    assert allowed[0] == "https://earth-search.aws.element84.com"
    assert set(KNOWN["earth-search"].origins) < set(allowed)
    assert allowed[-1] == "https://more.org"


def test_private_origins_are_allowed_as_well_and_need_no_https(tmp_path: Path) -> None:
    table = "[search.catalog]\nurl = 'http://stac.lan/v1'\ncollection = 'c'\nassets = { scl = 'SCL' }\n"
    found = load(
        tmp_path, A + table + "[network]\norigins = ['https://a.org']\nprivate_origins = ['HTTP://Stac.lan/']"
    )
    assert found.allowed_origins() == ("http://stac.lan", "https://a.org")
    assert found.network.private_origins == ("http://stac.lan",)


def test_custom_catalogue(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        A + "[search.catalog]\nurl = 'http://127.0.0.1:8000/v1/'\ncollection = 'c'\nassets = { scl = 'SCL' }\n"
        "[network]\norigins = ['http://127.0.0.1:8000']",
    )
    assert found.search.catalog == CustomCatalog(
        url="http://127.0.0.1:8000/v1", collection="c", assets={"scl": "SCL"}
    )
    described = found.search.resolve()
    assert (described.url, described.collection, dict(described.assets)) == (
        "http://127.0.0.1:8000/v1",
        "c",
        {"scl": "SCL"},
    )
    assert found.allowed_origins() == ("http://127.0.0.1:8000",)


def test_frozen_equal_and_picklable(tmp_path: Path) -> None:
    found = load(tmp_path, EXAMPLE)
    assert pickle.loads(pickle.dumps(found)) == found == load(tmp_path, EXAMPLE)
    with pytest.raises(ValidationError):
        found.run.queue = 3


def test_made_in_python() -> None:
    found = Config.model_validate({"areas": ({"name": "a", "wkt": "POLYGON ((0 0, 1 0, 1 1, 0 0))"},)})
    assert found.place("areas", 0) == "config"
    assert found.output.folder == Path("data").resolve()


# ---- the example ------------------------------------------------------------------------------------------


def fields(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field for name, field in model.model_fields.items() if name not in (*SECTIONS, "values")}


def test_example_is_the_file_at_the_top() -> None:
    assert Path(__file__).parents[2].joinpath("config.example.toml").read_text("utf-8") == EXAMPLE


def test_example_is_nine_parks_and_defaults(tmp_path: Path) -> None:
    example, plain = load(tmp_path, EXAMPLE), load(tmp_path, A)
    assert isinstance(example.areas, tuple)
    assert tuple((area.name, area.wkt) for area in example.areas) == PARKS
    assert [area.name for area in loader.load(example)] == [name for name, _ in PARKS]
    for section in SECTIONS:
        assert getattr(example, section) == getattr(plain, section)


@pytest.mark.parametrize("section", [None, *SECTIONS])
def test_example_shows_every_setting_with_a_comment(section: str | None) -> None:
    text = re.sub(r"(?m)^# \[values\](.*\n)+?\n", "", EXAMPLE)  # see test_values
    blocks = re.split(r"(?m)^\[(?=[a-z])", text)
    block = next(b for b in blocks if b.startswith(f"{section}]")) if section else blocks[0]
    model = Config if section is None else Config.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    shown = re.findall(r"(?m)^(?:# )?(\w+) = [^#\n]+ # \S.*$", block)
    assert shown == list(fields(model)), "every setting, in the order of the model, each with a comment"
    if section:
        whole = re.sub(
            r"(?m)^# (?=\w+ = )", "", f"[{block}".split("\n[[")[0]
        )  # settings that are unset by default
        assert set(tomllib.loads(whole)[section]) == set(fields(model))


@pytest.mark.parametrize(
    "name", ["Config", "Search", "Clouds", "Output", "Network", "Run", "CustomCatalog", "InlineArea"]
)
def test_every_field_says_what_it_means(name: str) -> None:
    model: type[BaseModel] = Config if name == "Config" else getattr(sections, name)
    told = field_docstrings(model)
    assert told.keys() == model.model_fields.keys()
    for key, text in told.items():
        assert text.rstrip().endswith((".", "``")), key


@pytest.mark.parametrize("file", ["fields.geojson", 'C:\\fields "1".csv'])
def test_a_file_of_areas_takes_the_place_of_the_parks(tmp_path: Path, file: str) -> None:
    (tmp_path / "fields.toml").write_text(with_areas(file), "utf-8")
    found = tomllib.loads(with_areas(file))
    assert found.pop("areas") == file
    example = tomllib.loads(EXAMPLE)
    del example["areas"]
    assert found == example
    assert Config.load(tmp_path / "fields.toml").areas == tmp_path / file


def test_render_changes_two_lines_only(tmp_path: Path) -> None:
    text = render(
        catalog_url="http://127.0.0.1:8722/v1", origin="http://127.0.0.1:8722", attribution='a "b" \\1, {year}'
    )
    changed = [new for old, new in zip(EXAMPLE.splitlines(), text.splitlines(), strict=True) if old != new]
    assert [line.split(" = ")[0] for line in changed] == ["catalog", "origins"]
    assert all(" # " in line for line in changed)
    found = load(tmp_path, text)
    assert found.search.resolve().url == "http://127.0.0.1:8722/v1"
    assert found.search.resolve().attribution == 'a "b" \\1, {year}'
    assert found.search.resolve().collection == "sentinel-2-l2a"
    assert found.network.origins == ("http://127.0.0.1:8722",)
    assert found.search.resolve().assets == {"scl": "scl", "visual": "visual"}


def test_the_former_name_of_a_setting_is_accepted_with_a_notice(tmp_path: Path) -> None:
    old = load(tmp_path, A + "[search]\ntwins = 'all'\n")
    assert old.search.reprocessed == "all"
    assert not old.selection().newest_only
    (notice,) = old.notices
    assert notice.startswith(f"{tmp_path / 'c.toml'}:3: [search] twins")
    assert "reprocessed" in notice
    mapped = Config.of({"areas": "a.geojson", "search": {"twins": "all"}})
    assert mapped.search.reprocessed == "all"
    assert ["twins" in text for text in mapped.notices] == [True]
    new = load(tmp_path, A + "[search]\nreprocessed = 'all'\n")
    assert (new.search, new.notices) == (old.search, ())


def test_the_former_name_of_a_setting_is_checked_like_the_present_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r":3: \[search\] reprocessed: must be 'newest' or 'all', not 3"):
        load(tmp_path, A + "[search]\ntwins = 3\n")
    both = A + "[search]\nreprocessed = 'all'\ntwins = 'all'\n"
    with pytest.raises(ConfigError, match=r":4: \[search\] twins: is the former name of reprocessed, .*twins"):
        load(tmp_path, both)
    with pytest.raises(ConfigError, match=r"config: \[search\] twins: .*; remove twins"):
        Config.of({"areas": "a.geojson", "search": {"twins": "all", "reprocessed": "all"}})
    odd_ones: list[dict[str, object]] = [{"areas": "a.geojson", "search": 3}, {"search": []}]
    for odd in odd_ones:
        with pytest.raises(ConfigError, match=r"must be a table|is missing"):
            Config.of(odd)


def test_what_counts_as_clear_and_which_crops_are_selected() -> None:
    told = Config.of(
        {
            "areas": "a.geojson",
            "clouds": {"classes": [9, 10], "max_area_cloud": 2.5, "min_area_valid": 90},
            "output": {"assets": ["visual", "red"], "mask": False},
        }
    )
    assert told.cloud_rule() == SclRule(classes=frozenset({9, 10}), max_cloud=250, min_valid=9000)
    assert told.selection() == Selection(assets=("visual", "red"), mask=False, format="gtiff")


def test_the_settings_of_the_client_are_those_of_the_network_and_every_origin_that_may_be_asked() -> None:
    network = {"private_origins": ["http://nas.test"], "origins": ["https://more.test"], "patience": 7.5}
    settings = Config.of({"areas": "a.geojson", "network": {**network, "connections": 3}}).client_settings()
    assert (settings.connections, settings.attempts, settings.patience) == (3, 5, 7.5)
    assert settings.private_origins == ("http://nas.test",)
    assert {"https://more.test", "http://nas.test"} < set(settings.origins)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_custom_catalogue_says_what_its_files_do_with_offsets() -> None:
    def settings(**more: str) -> dict[str, Any]:
        catalog = {"url": "https://stac.example.org/v1", "collection": "c"} | more
        return {"areas": "a.geojson", "search": {"catalog": catalog}, "output": {"reflectance": "harmonised"}}

    assert Config.of(settings()).catalog().offsets is None
    for offsets in Convention:
        if offsets is not Convention.UNKNOWN:
            assert Config.of(settings(offsets=offsets.value)).catalog().offsets is offsets
    with pytest.raises(ConfigError, match="offsets"):
        Config.of(settings(offsets="unknown"))
    assert Config.of(settings()).selection().harmonised
    assert not Config.of({"areas": "a.geojson"}).selection().harmonised


def test_a_band_under_a_name_that_hides_what_it_is_is_told(tmp_path: Path) -> None:
    assets = '{ scl = "SCL", rot = "B04", nir = "B08", B3 = "B03", luft = "AOT" }'
    table = f'{{ url = "https://stac.example.org/v1", collection = "c", assets = {assets} }}'
    cropped = '\n[output]\nassets = ["rot", "nir", "B3", "luft"]\n'
    (notice,) = load(tmp_path, catalog(table) + cropped).notices
    assert notice.startswith(
        f'{tmp_path / "c.toml"}:3: [search] catalog.assets: "rot" is no name of a reflectance'
    )
    assert 'call it "B04"' in notice
    assert load(tmp_path, catalog(table)).notices == ()
