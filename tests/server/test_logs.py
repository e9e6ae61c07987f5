import logging

import pytest

from server.logs import RateLimit


def test_a_flood_is_one_line_and_its_number_is_told(caplog: pytest.LogCaptureFixture):
    limit = RateLimit(period_s=3600)
    logger = logging.getLogger("tests.flood")
    logger.addFilter(limit)
    for number in range(100):
        logger.warning("bad request %d", number)
    logger.warning("something else")
    assert caplog.messages == ["bad request 0", "something else"]

    limit._period_s = 0
    for number in (100, 101):
        logger.warning("from another line %d", number)
    assert caplog.messages[2:] == ["from another line 100", "from another line 101"]


def test_the_next_line_says_how_many_were_held_back(caplog: pytest.LogCaptureFixture):
    limit = RateLimit(period_s=3600)
    logger = logging.getLogger("tests.held_back")
    logger.addFilter(limit)
    for number in range(4):
        limit._period_s = 0 if number == 3 else 3600
        logger.warning("%d", number)
    assert caplog.messages == ["0", "3 (2 more like this since the last one)"]
