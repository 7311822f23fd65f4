"""Decides which worker of a cluster gets a batch. Pure.

Batches of one scene share headers and blocks in the process that works on them. They therefore go to the worker
that had the last of them, unless another worker has much less to do. Scenes of one grid square share masks and
what was learned about the compression of blocks: among workers with similarly little to do, the worker that last
had the square gets them.

Each worker parks servers separately, so that a worker whose own route to a server is broken does not receive all
the batches that it returns at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterator
from typing import Final

from s2async.models import LONGEST_BATCH

SCENES: Final = 256
"""Number of scenes whose last worker is remembered; all workers together keep headers of fewer scenes."""
SQUARES: Final = 4096
"""Number of grid squares whose last worker is remembered: more than Europe has."""
AHEAD: Final = 2 * LONGEST_BATCH
"""Number of jobs that a worker may have more than the least busy one and still get a batch because of its scene.

Measured with 10,000 fields in a scene and four workers: if each of the three batches went to another worker, a
third more bytes were requested."""


class Workplaces:
    """The workers of a cluster that can process batches, by address."""

    def __init__(self) -> None:
        self._jobs: dict[str, int] = {}
        """Number of jobs in progress, by worker."""
        self._scenes = _Recent(SCENES)
        self._squares = _Recent(SQUARES)
        self._closed: dict[str, dict[str, bool]] = {}
        """By worker, the servers that it does not use at present; True for servers that it has given up."""
        self._reserved: set[str] = set()
        self._paused: set[str] = set()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, worker: object) -> bool:
        return worker in self._jobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def join(self, worker: str) -> None:
        """Add a worker."""
        self._jobs[worker] = 0
        self._closed[worker] = {}

    def leave(self, worker: str) -> bool:
        """Remove a worker, and return whether it was there."""
        self._closed.pop(worker, None)
        self._reserved.discard(worker)
        self._paused.discard(worker)
        return self._jobs.pop(worker, None) is not None

    # ---- batches ----

    def choose(
        self, scene: Hashable, servers: Collection[str] = (), *, square: str = "", jobs: int = 1
    ) -> str | None:
        """Return the worker for a batch, or None if there is none at present.

        Args:
            scene: key of the batch's scene.
            servers: servers that its files are on.
            square: grid square of the scene.
            jobs: number of jobs.
        """
        free = self._free()
        open_ = {worker: jobs for worker, jobs in free.items() if self._closed[worker].keys().isdisjoint(servers)}
        loads = open_ or free  # if all workers have parked a server, any of them can report it
        if not loads:
            return None
        chosen = min(loads, key=loads.__getitem__)
        least = loads[chosen]
        for before, ahead in ((self._scenes.get(scene), AHEAD), (self._squares.get(square), jobs)):
            if before in loads and loads[before] < least + ahead:
                chosen = before
                break
        self._scenes.note(scene, chosen)
        if square:
            self._squares.note(square, chosen)
        return chosen

    def begin(self, worker: str, jobs: int) -> None:
        """Record that a worker gets this many jobs."""
        self._jobs[worker] += jobs

    def end(self, worker: str, jobs: int) -> None:
        """Record that a worker no longer has this many jobs."""
        if worker in self._jobs:
            self._jobs[worker] -= jobs

    def pause(self, worker: str) -> None:
        """Give a worker no further batches until `resume` is called."""
        if worker in self._jobs:
            self._paused.add(worker)

    def resume(self, worker: str) -> None:
        """Give a worker batches again."""
        self._paused.discard(worker)

    def _free(self) -> dict[str, int]:
        """Return the workers that may get batches, with their number of jobs."""
        return {worker: jobs for worker, jobs in self._jobs.items() if worker not in self._reserved | self._paused}

    # ---- one batch alone ----

    def reserve(self) -> str | None:
        """Return the least busy worker, which gets no further batches until `release`; None if there is none."""
        free = self._free()
        if not free:
            return None
        chosen = min(free, key=free.__getitem__)
        self._reserved.add(chosen)
        return chosen

    def release(self, worker: str) -> None:
        """Give a reserved worker batches again."""
        self._reserved.discard(worker)

    def is_idle(self, worker: str) -> bool:
        """Return whether a worker has no batch or has left."""
        return not self._jobs.get(worker)

    # ---- servers ----

    def close(self, worker: str, server: str, *, given_up: bool = False) -> bool:
        """Record that a worker does not use a server at present, and return whether that is new."""
        closed = self._closed.get(worker, {})
        new = server not in closed
        closed[server] = given_up or closed.get(server, False)
        return new

    def reopen(self, worker: str, server: str) -> None:
        """Record that a worker uses a server again."""
        self._closed.get(worker, {}).pop(server, None)

    def is_parked(self, server: str) -> bool:
        """Return whether no worker uses a server at present."""
        return bool(self._closed) and all(server in closed for closed in self._closed.values())

    def is_given_up(self, server: str) -> bool:
        """Return whether all workers have given up a server."""
        return bool(self._closed) and all(closed.get(server, False) for closed in self._closed.values())

    @property
    def parked(self) -> list[str]:
        """Names of the servers that no worker uses at present."""
        known = {server for closed in self._closed.values() for server in closed}
        return sorted(filter(self.is_parked, known))


class _Recent:
    """The worker that last had each of some things; the things that were used longest ago are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._workers: OrderedDict[Hashable, str] = OrderedDict()

    def get(self, thing: Hashable) -> str | None:
        return self._workers.get(thing)

    def note(self, thing: Hashable, worker: str) -> None:
        self._workers[thing] = worker
        self._workers.move_to_end(thing)
        if len(self._workers) > self._most:
            self._workers.popitem(last=False)
