"""Scalars of a training run as CSV rows (step, name, value, seconds) and TensorBoard events."""

import csv
import time
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter


class TrainingLog:
    """Appends; rows beyond the step that a run resumes from are dropped first."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "log.csv"
        self._keep_until(step)
        self._file = self.path.open("a", newline="")
        self._rows = csv.writer(self._file)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._started = time.monotonic()

    def _keep_until(self, step: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines()
        rows = [row for row in csv.reader(lines) if len(row) == 4 and int(row[0]) <= step]
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    def write(self, step: int, values: dict[str, float]) -> None:
        elapsed = time.monotonic() - self._started
        for name, value in values.items():
            self._rows.writerow([step, name, f"{value:.6g}", f"{elapsed:.1f}"])
            self._board.add_scalar(name, value, step)
        self._file.flush()

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()
