"""Files as fast as they go: hours of audio per hour and core.

python -m loadtests.files --bits 1
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loadtests.server import Server, cpu_list, server_under_test
from loadtests.speech import BYTES_PER_SECOND, long_recording
from loadtests.streams import quantile


@dataclass
class Tally:
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Report:
    bits: int
    uploads_at_once: int
    file_seconds: float
    files: int
    failed: int
    audio_hours_per_hour: float
    audio_hours_per_cpu_hour: float
    server_cores: float
    file_p95_seconds: float
    server_resident_mb: float


def upload(server: Server, bits: int, body: bytes) -> None:
    host, port = server.address
    connection = http.client.HTTPConnection(host, port, timeout=600)
    try:
        kind = {"Content-Type": "audio/L16; rate=16000; channels=1"}
        connection.request("POST", f"/transcribe?bits={bits}&timestamps=none", body, kind)
        answer = connection.getresponse()
        document = json.loads(answer.read())
        if answer.status != 200 or document["warnings"]:
            raise ConnectionError(f"{answer.status}: {document}")
    finally:
        connection.close()


def _worker(server: Server, bits: int, body: bytes, until: float, tally: Tally) -> None:
    while time.perf_counter() < until:
        begin = time.perf_counter()
        try:
            upload(server, bits, body)
        except (OSError, http.client.HTTPException, ValueError):
            with tally.lock:
                tally.failed += 1
            time.sleep(1)
        else:
            with tally.lock:
                tally.seconds.append(time.perf_counter() - begin)


def run_files(server: Server, bits: int, at_once: int, file_seconds: float, seconds: float) -> Report:
    body = long_recording(file_seconds)
    upload(server, bits, body[: 10 * BYTES_PER_SECOND])
    tally = Tally()
    before, begin = server.figures(), time.perf_counter()
    arguments = (server, bits, body, begin + seconds, tally)
    workers = [threading.Thread(target=_worker, args=arguments) for _ in range(at_once)]
    for worker in workers:
        worker.start()
    peak_bytes = 0.0
    for worker in workers:
        while worker.is_alive():
            worker.join(1.0)
            peak_bytes = max(peak_bytes, server.figures().resident_bytes)
    wall = time.perf_counter() - begin
    cpu_seconds = server.figures().cpu_seconds - before.cpu_seconds
    audio_seconds = file_seconds * len(tally.seconds)
    return Report(
        bits=bits,
        uploads_at_once=at_once,
        file_seconds=file_seconds,
        files=len(tally.seconds),
        failed=tally.failed,
        audio_hours_per_hour=audio_seconds / wall,
        audio_hours_per_cpu_hour=audio_seconds / cpu_seconds if cpu_seconds else float("nan"),
        server_cores=cpu_seconds / wall,
        file_p95_seconds=quantile(tally.seconds, 0.95),
        server_resident_mb=peak_bytes / 1e6,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running server on this machine; none: one is started")
    parser.add_argument("--bits", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--at-once", type=int, default=2 * len(os.sched_getaffinity(0)), help="uploads at once")
    parser.add_argument("--file-seconds", type=float, default=600.0)
    parser.add_argument("--seconds", type=float, default=20.0, help="no upload starts after this")
    parser.add_argument("--server-cpus", type=cpu_list, default=[], help="processors for a server started here: 0,1")
    parser.add_argument("--json", type=Path, help="write the report here")
    options = parser.parse_args()
    settings = {"reference_interval_seconds": 0, "log_level": "warning"}
    with server_under_test(options.url, options.server_cpus, **settings) as server:
        report = run_files(server, options.bits, options.at_once, options.file_seconds, options.seconds)
    print(
        f"{report.bits} bit, {report.uploads_at_once} uploads at once of {report.file_seconds:.0f} s: "
        f"{report.files} done, {report.failed} failed, {report.audio_hours_per_hour:.0f} hours of audio per hour, "
        f"{report.audio_hours_per_cpu_hour:.0f} per hour and core used ({report.server_cores:.2f} cores), "
        f"p95 {report.file_p95_seconds:.2f} s per file, {report.server_resident_mb:.0f} MB"
    )
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1))


if __name__ == "__main__":
    main()
