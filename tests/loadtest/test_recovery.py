import json

import pytest
from moodstream.v1 import media_pb2, result_pb2
from typer.testing import CliRunner

from loadtest.cli import app
from loadtest.recovery import Arrival, judge

USED, DROPPED = result_pb2.MODALITY_STATUS_USED, result_pb2.MODALITY_STATUS_DROPPED
S = 1_000_000_000


def window(number: int, sentiment: float = 0.5, status: "result_pb2.ModalityStatus.ValueType" = USED):
    modality = result_pb2.ModalityResult(modality=media_pb2.MODALITY_AUDIO, status=status)
    return result_pb2.SentimentResult(index=number, sentiment=sentiment, modalities=[modality])


def arrivals(*results):
    return [Arrival(number * S, result) for number, result in enumerate(results)]


RIGHT = [window(number) for number in range(5)]


def test_the_time_counts_to_the_first_window_from_which_on_all_are_right():
    found = judge(
        "stub", S // 2, arrivals(window(0), window(1, 0.1), window(2), window(3, 0.5, DROPPED), window(4)), RIGHT
    )
    assert (found.seconds, found.wrong_windows, found.said) == (3.5, 2, ("dropped",))


def test_a_kill_that_nobody_noticed_counts_to_the_next_window():
    assert judge("triton", S // 2, arrivals(*RIGHT), RIGHT).seconds == 0.5


def test_never_right_again_is_none():
    assert judge("triton", S // 2, arrivals(*RIGHT[:4], window(4, 0.1)), RIGHT).seconds is None


def test_windows_that_did_not_come_are_counted():
    found = judge("triton", S // 2, arrivals(*RIGHT[:3]), RIGHT)
    assert (found.windows, found.expected_windows) == (3, 5)


@pytest.mark.slow
def test_a_server_recovers():
    result = CliRunner().invoke(app, ["recovery", "--seconds", "14", "--json"])
    assert result.exit_code == 0
    assert all(one["seconds"] is not None for one in json.loads(result.stdout)["recoveries"])
