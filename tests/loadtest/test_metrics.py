import numpy as np
import pytest

from loadtest.metrics import LatencyHistogram, Record


@pytest.mark.parametrize("distribution", ["lognormal", "uniform", "two values"])
def test_percentiles_are_those_of_numpy(distribution):
    random = np.random.default_rng(1)
    values_ms = {
        "lognormal": random.lognormal(3, 1, 5000),
        "uniform": random.uniform(0.5, 3000, 5000),
        "two values": np.repeat([5.0, 500.0], [4900, 100]),
    }[distribution]
    histogram = LatencyHistogram()
    for value in values_ms:
        histogram.record(int(value * 1e6))
    for percentile in (50.0, 90.0, 99.0):
        expected = np.percentile(values_ms, percentile, method="inverted_cdf")
        assert histogram.percentile_ms(percentile) == pytest.approx(expected, rel=2e-3)
    assert histogram.max_ms() == pytest.approx(values_ms.max(), rel=2e-3)
    assert histogram.count == len(values_ms)


def test_nothing_recorded_is_not_zero():
    assert LatencyHistogram().as_dict() == {"count": 0, "p50_ms": None, "p90_ms": None, "p99_ms": None, "max_ms": None}


def test_extremes_are_kept():
    histogram = LatencyHistogram()
    histogram.record(-5)
    histogram.record(10**15)
    assert histogram.count == 2
    assert histogram.max_ms() == pytest.approx(120_000, rel=1e-3)


def test_records_add_up():
    first, total = Record(sessions=1, expected_windows=4, final_windows=3), Record()
    second = Record(sessions=1, errors=["x"])
    first.first.record(10_000_000)
    second.first.record(30_000_000)
    first.messages["late"] = 2
    second.messages["late"] = 3
    for record in (first, second):
        total.add(record)
    assert (total.sessions, total.expected_windows, total.missing_windows) == (2, 4, 1)
    assert total.first.count == 2
    assert total.first.max_ms() == pytest.approx(30, rel=1e-3)
    assert total.messages["late"] == 5
    assert total.errors == ["x"]
