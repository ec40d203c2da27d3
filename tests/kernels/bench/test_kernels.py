"""The benchmark of the products runs and says what it measured."""

import json
from pathlib import Path

from rich.console import Console

from onebit_kernels.bench import kernel_tables, kernels
from onebit_kernels.bench.products import Shape


def test_report_of_one_shape() -> None:
    plan = kernels.Plan([Shape(64, 96)], [1, 3], turns=2, turn_seconds=1e-4, isa="generic")
    report = kernels.run(plan)
    assert {(s.K, s.N, s.M) for s in report.speeds} == {(64, 96, 1), (64, 96, 3)}
    assert all(speed.gops > 0 for speed in report.speeds)
    assert {"onebit 1 bit", "onebit 4 bit"} <= {speed.contender for speed in report.speeds}
    assert json.loads(kernels.to_json(report))["isa"] == "generic"
    console = Console(record=True, width=140)
    kernel_tables.show(report, console)
    assert "64 -> 96, GOPS" in console.export_text()


def test_weighted_speed_is_total_work_over_total_time() -> None:
    speeds = [kernels.Speed("ours", shape.K, shape.N, 16, 100.0) for shape in kernels.MODEL_SHAPES]
    report = kernels.Report("", "", "", {}, {}, [], speeds)
    assert abs(kernels.weighted(report)["ours", 16] - 100) < 1e-9
    assert kernels.weighted(kernels.Report("", "", "", {}, {}, [], speeds[1:])) == {}


def test_bars_name_every_contender(tmp_path: Path) -> None:
    plan = kernels.Plan(list(kernels.MODEL_SHAPES), [1], turns=1, turn_seconds=1e-5, isa="")
    report = kernels.run(plan)
    kernel_tables.plot(report, tmp_path / "speeds.svg")
    drawn = (tmp_path / "speeds.svg").read_text()
    for name in {speed.contender for speed in report.speeds}:
        assert f">{name}</text>" in drawn
