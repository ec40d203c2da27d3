"""Planes go where a bit gains most, and never beyond the budget."""

from onebit_model.network.allocation import allocate

WEIGHTS = {"cheap": 100, "dear": 100, "large": 1000}
DIVERGENCE = {
    "cheap": {1: 0.01, 2: 0.005, 4: 0.0},
    "dear": {1: 5.0, 2: 1.0, 4: 0.1},
    "large": {1: 6.0, 2: 0.5, 4: 0.1},
}


def spent(planes: dict[str, int], precision: int) -> int:
    return sum(planes.get(layer, precision) * count for layer, count in WEIGHTS.items())


def test_gain_by_bit_decides() -> None:
    assert allocate(DIVERGENCE, WEIGHTS, 1, 1200) == {}
    assert allocate(DIVERGENCE, WEIGHTS, 1, 1300) == {"dear": 2}
    assert allocate(DIVERGENCE, WEIGHTS, 1, 1500) == {"dear": 4}
    assert allocate(DIVERGENCE, WEIGHTS, 1, 2500) == {"dear": 4, "large": 2}


def test_the_budget_is_kept() -> None:
    for precision in (1, 2):
        for budget in range(precision * 1200, 5000, 70):
            assert spent(allocate(DIVERGENCE, WEIGHTS, precision, budget), precision) <= budget


def test_no_more_planes_than_allowed() -> None:
    assert allocate(DIVERGENCE, WEIGHTS, 1, 10_000, {"dear": 2, "large": 2}) == {"cheap": 4, "dear": 2, "large": 2}
    assert allocate(DIVERGENCE, WEIGHTS, 1, 10_000, {"dear": 1, "cheap": 1}) == {"large": 4}


def test_what_gains_nothing_gets_nothing() -> None:
    flat = {layer: {1: 1.0, 2: 1.0, 4: 1.0} for layer in WEIGHTS}
    assert allocate(flat, WEIGHTS, 1, 10_000) == {}
