"""Segments of files that wait for an engine: clients take turns, and so do the files of one client."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from onebit_service.scheduling.work import Clock, FileJob, Waiting


class FairQueue:
    """Not thread-safe: the scheduler's lock guards it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clients: OrderedDict[str, OrderedDict[FileJob, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._clients)

    def add(self, job: FileJob, waiting: Waiting) -> None:
        if not job.waiting:
            job.waiting_since = self._clock()
        job.waiting.append(waiting)
        self._clients.setdefault(job.request.client, OrderedDict()).setdefault(job)

    def remove(self, job: FileJob) -> None:
        job.waiting.clear()
        self._drop(job)

    def jobs(self) -> Iterator[FileJob]:
        """In the order of their turns: the first file of each client, then the second of each, and so on."""
        queues = [list(jobs) for jobs in self._clients.values()]
        for turn in range(max(map(len, queues), default=0)):
            for jobs in queues:
                if turn < len(jobs):
                    yield jobs[turn]

    def take(self, seconds: float) -> list[tuple[FileJob, Waiting]]:
        """The next segment, and others of the same kind that fit with it into `seconds` of audio."""
        taken: list[tuple[FileJob, Waiting]] = []
        for job in list(self.jobs()):
            first = taken[0][0].request if taken else job.request
            length = job.waiting[0].segment.seconds
            if (job.request.bits, job.request.chunk) != (first.bits, first.chunk) or (taken and length > seconds):
                continue
            seconds -= length
            taken.append((job, job.waiting.popleft()))
        for job, _ in taken:
            self._rotate(job)
        return taken

    def _rotate(self, job: FileJob) -> None:
        """Its turn is over: behind the client's other files, and the client behind the other clients."""
        job.waiting_since = self._clock()
        self._drop(job)
        client = job.request.client
        if job.waiting:
            self._clients.setdefault(client, OrderedDict())[job] = None
        if client in self._clients:
            self._clients.move_to_end(client)

    def _drop(self, job: FileJob) -> None:
        jobs = self._clients.get(job.request.client)
        if jobs is None or job not in jobs:
            return
        del jobs[job]
        if not jobs:
            del self._clients[job.request.client]
