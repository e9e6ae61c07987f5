import logging

import pytest

from server.triton.log import TritonLog

INFO = 'I1124 03:45:54.095864 4255 model_lifecycle.cc:472] "loading: double:1"'
WARNING = 'W1124 03:45:54.094257 4255 model.py:6] "odd"'
ERROR = "E1124 03:45:54.2 4255 model_lifecycle.cc:642] \"failed to load 'pick' version 1: Internal: no such file\""
HARMLESS = 'E1124 03:45:54.094464 4255 server.cc:241] "CudaDriverHelper has not been initialized."'


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "moodstream.triton")
    log = TritonLog()
    for line in (INFO, WARNING, ERROR, HARMLESS, "+----+", ""):
        log.take(line + "\n")
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.DEBUG, "model_lifecycle.cc:472 loading: double:1"),
        (logging.WARNING, "model.py:6 odd"),
        (logging.ERROR, "model_lifecycle.cc:642 failed to load 'pick' version 1: Internal: no such file"),
        (logging.DEBUG, "server.cc:241 CudaDriverHelper has not been initialized."),
        (logging.DEBUG, "- +----+"),
    ]


def test_keeps_the_last_lines() -> None:
    log = TritonLog()
    for number in range(500):
        log.take(f"line {number}")
    assert log.tail(2) == ["line 498", "line 499"]
    assert len(log.tail(1000)) == 200


def test_the_reason_is_an_error_where_there_is_one() -> None:
    log = TritonLog()
    assert log.reason() == "its log is empty"
    log.take("libz.so: cannot open shared object file")
    assert log.reason() == "libz.so: cannot open shared object file"
    for line in (HARMLESS, ERROR, INFO, "+---+"):
        log.take(line)
    assert log.reason() == "failed to load 'pick' version 1: Internal: no such file"
