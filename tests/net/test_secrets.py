"""What might be a password or a signature stands where it is needed to fetch, and nowhere else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet
import pytest

from s2async.cli import main
from s2async.config.model import Config
from s2async.export.formats import FORMATS, FileFormat
from tests.support import worlds
from tests.support.worlds import Item, Stage

pytestmark = pytest.mark.usefixtures("no_proxies")

CANARY = "hunter2canary"


class Signed(Stage):
    """A catalogue whose addresses hold a signature, and another one after each `sign`."""

    number = 0

    def sign(self) -> None:
        """Serve the same files under new signatures."""
        self.number += 1
        plain = worlds.document

        def signed(item: Item) -> dict[str, Any]:
            made = plain(item)
            for asset in made["assets"].values():
                asset["href"] += f"?sig={CANARY}{self.number}&token={CANARY}"
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worlds, "document", signed)
            self.world.write()
            self.restart()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    made = Signed(worlds.World(tmp_path_factory.mktemp("world"), worlds.every_kind()))
    with made:
        yield made


class Terminal:
    """Asks the command line, and keeps all that it said."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture
        self.said = ""

    def __call__(self, *arguments: object) -> object:
        with pytest.raises(SystemExit) as ended:
            main.main([str(argument) for argument in arguments])
        self.said += "".join(self.capture.readouterr())
        return ended.value.code


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capfd)


def leaks(folder: Path) -> set[str]:
    """Files that hold the canary, but for the state."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("state.sqlite"):
            packed = path.suffix == ".parquet"
            data = str(pyarrow.parquet.read_table(path).to_pylist()).encode() if packed else path.read_bytes()
            if CANARY.encode() in data:
                found.add(path.name)
    return found


def leaking_tables(state: Path) -> set[str]:
    """Tables of a state that hold the canary."""
    names = [name for (name,) in worlds.query(state, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name for name in names if CANARY in str(worlds.query(state, f'SELECT * FROM "{name}"'))}


def assets_asked(stage: Signed) -> list[str]:
    return [urlsplit(entry.path).path for entry in stage.sandbox.log() if entry.kind == "cogs"]


def test_signatures_stay_in_the_state_and_a_new_one_is_no_new_file(
    tmp_path: Path, stage: Signed, ask: Terminal
) -> None:
    stage.sign()
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 2})
    config = Config.load(path)
    days = [f"S2A_33UUU_202201{day:02}_0_L2A/TCI" for day in (1, 5, 7, 15)]
    for kind, file, more in (
        ("code", days[0], {"status": 403}),
        ("redirect", days[1], {"to": f"http://evil.test/a.tif?sig={CANARY}"}),
        ("html", days[2], {}),
        ("code", days[3], {"status": 503}),
        ("code", "S2A_33UUU_20220131_1_L2A/SCL", {"status": 400}),
    ):
        stage.sandbox.fault(kind, path=file, count=None, **more)
    assert ask("run", "-v", path) == 3
    for said in (
        "access denied (403)",
        "evil.test/a.tif",
        "expected part of a file",
        "answers 503",
        "answers 400",
    ):
        assert said in ask.said, said
    for name, form in FORMATS.items():
        assert ask("export", path, "--format", name, *["--all"] * isinstance(form, FileFormat)) == 0
    for command in (["status"], ["status", "--json"], ["verify"], ["prune", "--dry-run"], ["report"], ["plan"]):
        assert ask(*command, path) == 0
    assert CANARY not in ask.said
    assert not leaks(tmp_path)
    assert len(list(config.output.folder.rglob("*.tif"))) > 5
    assert leaking_tables(config.run.state) == {"items"}, "to go on without a search"

    stage.sandbox.clear_faults()
    stage.sign()
    worlds.settle(config)
    done = {key for key, status in worlds.statuses(config).items() if status == "saved"}
    assert ask("run", path) == 0, "what failed under the old signature is tried with the new one"
    asked = assets_asked(stage)
    assert {file.split("/")[-2] for file in asked} == {file.split("/")[0] for file in days} | {
        "S2A_33UUU_20220131_1_L2A"
    }
    assert done < {key for key, status in worlds.statuses(config).items() if status == "saved"}
    stage.sign()
    assert ask("run", path) == 0
    assert not assets_asked(stage), "nothing is read again under a new signature"


def test_a_state_is_rebuilt_from_crops_that_tell_no_signature(
    tmp_path: Path, stage: Signed, ask: Terminal
) -> None:
    stage.sign()
    path = worlds.write_config(tmp_path, stage.sandbox)
    assert ask("run", path) == 0
    config = Config.load(path)
    saved = {item for (_, item), status in worlds.statuses(config).items() if status == "saved"}
    for state in config.output.folder.glob("state.sqlite*"):
        state.unlink()
    assert ask("rebuild", path) == 0
    assert leaking_tables(config.run.state) == set()
    stage.sandbox.reset()
    assert ask("run", path) == 0
    again = {file.split("/")[-2] for file in assets_asked(stage) if file.endswith("TCI.tif")}
    assert saved
    assert not again & saved


LINK = f"https://me:{CANARY}@a.test/b?token={CANARY}"
STRANGE = f'{{"type": "FeatureCollection", "features": [], "links": [{{"rel": "next", "href": "{LINK}"}}]}}'
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "no page": ("body", {"text": f'{{"next": "{LINK}"}}'}),
    "a page, and another elsewhere": ("body", {"text": STRANGE}),
    "a link that cannot be followed": ("body", {"text": STRANGE.replace('"href"', '"method": "PUT", "href"')}),
    "a login": ("body", {"text": f"<a href='{LINK}'>/login?back={CANARY}</a>", "media_type": "text/html"}),
    "a redirect with a user": ("redirect", {"to": LINK}),
    "a redirect elsewhere": ("redirect", {"to": f"http://evil.test/?token={CANARY}"}),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_search_answers_is_not_repeated(tmp_path: Path, stage: Signed, ask: Terminal, answer: str) -> None:
    path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 1})
    kind, more = ANSWERS[answer]
    stage.sandbox.fault(kind, path="/search", count=None, **more)
    assert ask("run", "-v", path) == 3
    stage.sandbox.clear_faults()
    assert ask("status", path) == 0
    assert "incomplete" in ask.said
    assert CANARY not in ask.said
    assert not leaks(tmp_path)
    assert not leaking_tables(Config.load(path).run.state)


@pytest.mark.parametrize("value", ["env:STAC_PASS_PHRASE", CANARY])
def test_a_header_of_searches_reaches_the_catalogue_and_nothing_else(
    tmp_path: Path, stage: Signed, ask: Terminal, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("STAC_PASS_PHRASE", CANARY)
    stage.restart()
    network = {"headers": {"x-api-key": value}, "attempts": 1}
    path = worlds.write_config(tmp_path, stage.sandbox, network=network, run={"log": "s2async.log"})
    text = path.read_text()
    path.unlink()
    config = tmp_path / "config" / "c.toml"
    config.parent.mkdir()
    config.write_text(text)
    stage.sandbox.reset()
    stage.sandbox.fault("code", path="TCI", status=400, count=2)
    assert ask("plan", config) == 0
    assert ask("run", "-v", config) == 3
    sent = {(entry.kind, entry.headers.get("X-Api-Key")) for entry in stage.sandbox.log()}
    assert sent == {("search", CANARY), ("cogs", None)}
    config.write_text(text.replace(CANARY, "another"))
    for command in (["status"], ["status", "--json"], ["verify"], ["report"]):
        assert ask(*command, config) == 0
    assert CANARY not in ask.said
    assert not leaks(tmp_path)
    assert not leaking_tables(Config.load(config).run.state)


def test_a_missing_variable_of_a_header_ends_a_run_before_anything(
    tmp_path: Path, stage: Signed, ask: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STAC_PASS_PHRASE", raising=False)
    network = {"headers": {"x-api-key": "env:STAC_PASS_PHRASE"}}
    path = worlds.write_config(tmp_path, stage.sandbox, network=network)
    stage.sandbox.reset()
    for command in ("plan", "run"):
        assert ask(command, path) == 2
    assert ask.said.count("the environment variable STAC_PASS_PHRASE (for x-api-key) is not set") == 2
    assert len(ask.said.strip().splitlines()) == 2
    assert not Config.load(path).output.folder.exists()
    assert list(stage.sandbox.log()) == []


def test_the_password_of_a_proxy_is_not_repeated(
    tmp_path: Path, stage: Signed, ask: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://me:{CANARY}@127.0.0.1:{closed.getsockname()[1]}")
        path = worlds.write_config(tmp_path, stage.sandbox, network={"attempts": 1, "patience": 1})
        assert ask("run", "-v", path) == 3
    assert "to the proxy" in ask.said
    assert CANARY not in ask.said
    assert not leaks(tmp_path)
    assert not leaking_tables(Config.load(path).run.state)
