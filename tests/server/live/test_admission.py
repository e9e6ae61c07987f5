from contextlib import ExitStack

import pytest

from server.access.identity import ANYBODY, Identity, Role
from server.live.admission import Admission
from server.live.failures import RefusedError
from server.settings import IdentityLimits

ANN, BOB = (Identity(name, frozenset(Role)) for name in ("ann", "bob"))
LIMITS = IdentityLimits(max_sessions=2, sessions_per_s=1, session_burst=3, max_clips=1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_identity_can_not_take_the_room_of_another():
    admission = Admission(LIMITS.model_copy(update={"session_burst": 10}))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.session(ANN))
        with pytest.raises(RefusedError, match="2 sessions"), admission.session(ANN):
            pass
        stack.enter_context(admission.session(BOB))
        stack.enter_context(admission.clip(ANN))
        with pytest.raises(RefusedError, match="1 media files"), admission.clip(ANN):
            pass
    with admission.clip(ANN), admission.session(ANN):
        pass


def test_new_sessions_come_in_a_burst_and_then_at_their_rate():
    clock = Clock()
    admission = Admission(LIMITS, clock)

    def opened() -> int:
        for count in range(100):
            try:
                with admission.session(ANN):
                    pass
            except RefusedError:
                return count
        return 100

    assert opened() == 3
    clock.now = 2.0
    assert opened() == 2
    clock.now = 100.0
    assert opened() == 3


def test_who_shares_an_identity_has_the_limits_of_the_server_alone():
    admission = Admission(LIMITS)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(admission.session(ANYBODY))
            stack.enter_context(admission.clip(ANYBODY))
