"""What Linux says of the memory of this process."""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")
RESIDENT = "VmRSS"
# Of this program alone: getrusage would count what the process was before it became Python.
PEAK_RESIDENT = "VmHWM"


def status_bytes(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024
