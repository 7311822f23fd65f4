"""Which worker gets a batch."""

from __future__ import annotations

import pytest

from s2async.engine.clusters import Cluster, chosen
from s2async.engine.workplaces import AHEAD, Workplaces
from s2async.errors import ConfigError

FILES, OTHERS = "https://files.example", "https://others.example"


def joined(*names: str) -> Workplaces:
    places = Workplaces()
    for name in names:
        places.join(name)
    return places


def given(places: Workplaces, scene: str, jobs: int, servers: tuple[str, ...] = ()) -> str | None:
    worker = places.choose(scene, servers)
    if worker is not None:
        places.begin(worker, jobs)
    return worker


def test_the_least_busy_worker_gets_a_scene_and_keeps_it() -> None:
    places = joined("a", "b")
    assert [given(places, "S1", 9), given(places, "S2", 4), given(places, "S3", 4)] == ["a", "b", "b"]
    assert given(places, "S1", 9) == "a", "the scene's headers are there"
    places.end("a", 18)
    assert given(places, "S2", 1) == "b"


def test_a_worker_that_is_far_ahead_shares_its_scene() -> None:
    places = joined("a", "b")
    assert [given(places, "S1", AHEAD) for _ in range(4)] == ["a", "b", "b", "a"]


def test_scenes_of_one_square_stay_together_where_nobody_has_less_to_do() -> None:
    places = joined("a", "b")
    assert places.choose("S1", square="33UUU", jobs=9) == "a"
    places.begin("a", 9)
    assert places.choose("S2", square="33UUV", jobs=9) == "b"
    places.begin("b", 9)
    assert places.choose("S3", square="33UUV", jobs=9) == "b"
    places.begin("b", 9)
    assert places.choose("S4", square="33UUV", jobs=9) == "a", "b has a batch more"
    places.begin("a", 9)
    assert places.choose("S5", square="33UUV", jobs=9) == "a", "which had the last of them"


def test_there_may_be_no_worker_and_the_batches_of_one_that_left_go_to_another() -> None:
    places = joined()
    assert places.choose("S1", ()) is None
    places.join("a")
    assert given(places, "S1", 3) == "a"
    places.join("b")
    assert places.leave("a")
    assert not places.leave("a")
    places.end("a", 3)
    assert given(places, "S1", 3) == "b"
    assert list(places) == ["b"]


def test_a_reserved_worker_gets_nothing_until_it_is_released() -> None:
    places = joined("a", "b")
    places.begin("a", 1)
    assert places.reserve() == "b"
    assert given(places, "S1", 5) == "a"
    assert given(places, "S2", 5) == "a"
    assert (places.is_idle("a"), places.is_idle("b")) == (False, True)
    assert places.reserve() == "a"
    assert places.reserve() is None
    assert places.choose("S3", ()) is None
    places.release("b")
    assert places.choose("S3", ()) == "b"


def test_a_worker_that_parked_a_server_gets_no_batch_of_it_while_another_asks_it() -> None:
    places = joined("a", "b")
    assert places.close("a", FILES)
    assert not places.close("a", FILES), "it is known"
    assert [given(places, f"S{number}", 1, (FILES,)) for number in range(3)] == ["b", "b", "b"]
    assert given(places, "T", 1, (OTHERS,)) == "a"
    assert not places.is_parked(FILES)
    places.close("b", FILES, given_up=True)
    assert places.is_parked(FILES)
    assert places.parked == [FILES]
    assert not places.is_given_up(FILES)
    assert places.choose("S9", (FILES,)) == "a", "any of them says that it is parked"
    places.close("a", FILES, given_up=True)
    assert places.is_given_up(FILES)
    places.reopen("a", FILES)
    assert not places.is_parked(FILES)
    places.join("c")
    assert not joined().is_parked(FILES)


@pytest.mark.parametrize(
    ("executor", "scheduler", "cluster"),
    [
        (None, None, None),
        ("local", None, None),
        ("dask", "tcp://10.0.0.5:8786", Cluster(scheduler="tcp://10.0.0.5:8786")),
        ("dask", "tls://[::1]:8786", Cluster(scheduler="tls://[::1]:8786")),
        ("dask", "shared/dask.json", Cluster(scheduler="shared/dask.json")),
        ("dask", None, Cluster()),
        ("dask", "dask://local", Cluster()),
        ("dask", "dask://local?workers=4", Cluster(workers=4)),
    ],
)
def test_options_name_a_cluster(executor: str | None, scheduler: str | None, cluster: Cluster | None) -> None:
    assert chosen(executor, scheduler) == cluster
    if cluster:
        assert chosen(executor, scheduler, send_crops=True) == Cluster(
            scheduler=cluster.scheduler, workers=cluster.workers, send_crops=True
        )


@pytest.mark.parametrize(
    ("executor", "scheduler", "send_crops"),
    [
        ("slurm", None, False),
        (None, "tcp://10.0.0.5:8786", False),
        ("local", None, True),
        ("dask", "10.0.0.5:8786", False),
        ("dask", "tcp://10.0.0.5", False),
        ("dask", "https://10.0.0.5:8786", False),
        ("dask", "tcp://[::1", False),
        ("dask", "dask://local?workers=0", False),
        ("dask", "dask://local?workers=many", False),
        ("dask", "dask://local?threads=4", False),
        ("dask", "dask://localhost", False),
    ],
)
def test_options_that_do_not_fit_are_refused(
    executor: str | None, scheduler: str | None, send_crops: bool
) -> None:
    with pytest.raises(ConfigError) as refused:
        chosen(executor, scheduler, send_crops=send_crops)
    assert "\n" not in str(refused.value)


def test_a_paused_worker_gets_no_batches() -> None:
    places = joined("a", "b")
    places.pause("a")
    assert [places.choose("S1"), places.reserve(), places.choose("S1")] == ["b", "b", None]
    places.resume("a")
    assert places.choose("S1") == "a"
    places.pause("a")
    places.leave("a")
    places.join("a")
    assert places.choose("S1") == "a", "it has come again"
