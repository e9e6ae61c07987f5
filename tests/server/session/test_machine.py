"""A session under everything that a network and a recogniser do: order, loss, repetition, delay, corrections."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from server.session.core import SessionSettings
from server.session.messages import Close, EndOfModality, EndOfUtterance, Media, Modality
from server.session.pieces import Plan, Status

MS = 1_000_000
A, V, T = Modality.AUDIO, Modality.VIDEO, Modality.TEXT
CHUNK_MS = 100


def make_machine(driver_of: type) -> type[RuleBasedStateMachine]:
    class Session(RuleBasedStateMachine):
        """Time goes on chunk by chunk; what is sent may be held back, repeated, or lost."""

        @initialize(lateness_ms=st.sampled_from([0, 300, 5_000]), endpointing=st.booleans())
        def begin(self, lateness_ms: int, endpointing: bool) -> None:
            self.options = {"lateness_ns": lateness_ms * MS, "endpointing_ns": 500 * MS if endpointing else None}
            self.driver = driver_of(SessionSettings(frozenset(Modality), **self.options))
            self.now_ms = 0
            self.sequences = dict.fromkeys(Modality, 0)
            self.held: list[Media] = []
            self.sent: list[Media] = []
            self.is_whole = True
            """Nothing of the audio and the video was lost or came late."""
            self.random = np.random.default_rng(0)

        def message(self, modality: Modality, start_ms: int, data: bytes, **others: object) -> Media:
            self.sequences[modality] += 1
            return Media(modality, self.sequences[modality] - 1, start_ms * MS, data, **others)  # type: ignore[arg-type]

        def send(self, message: Media, fate: str) -> None:
            self.is_whole &= message.modality == T or fate in ("sent", "twice")
            if fate == "held":
                self.held.append(message)
            elif fate != "lost":
                self.driver.send(*[message] * (2 if fate == "twice" else 1))
                self.sent.append(message)

        fates = st.sampled_from(["sent"] * 12 + ["twice", "held", "lost"])

        @rule(fate=fates, loudness=st.sampled_from([0.0, 0.1]), chunks=st.integers(1, 8))
        def audio(self, fate: str, loudness: float, chunks: int) -> None:
            for _ in range(chunks):
                samples = loudness * self.random.standard_normal(16 * CHUNK_MS).astype(np.float32)
                self.send(self.message(A, self.now_ms, samples.astype(np.float32).tobytes()), fate)
                self.now_ms += CHUNK_MS

        @rule(fate=fates)
        def video(self, fate: str) -> None:
            self.send(self.message(V, self.now_ms, b"\x07"), fate)

        @rule(fate=fates, length_ms=st.integers(0, 1_500), has_time=st.booleans())
        def words(self, fate: str, length_ms: int, has_time: bool) -> None:
            start_ms = max(0, self.now_ms - length_ms)
            self.send(self.message(T, start_ms, b"a b", duration_ns=length_ms * MS, has_time=has_time), fate)

        @rule(
            fate=fates,
            number=st.integers(0, 2),
            length_ms=st.integers(0, 800),
            is_final=st.booleans(),
            text=st.booleans(),
        )
        def hypothesis(self, fate: str, number: int, length_ms: int, is_final: bool, text: bool) -> None:
            start_ms = max(0, self.now_ms - length_ms)
            said = {"duration_ns": length_ms * MS, "hypothesis": number, "is_final": is_final}
            self.send(self.message(T, start_ms, b"maybe so" if text else b"", **said), fate)

        @rule(before_ms=st.one_of(st.none(), st.integers(0, 3_000)))
        def end_of_utterance(self, before_ms: int | None) -> None:
            offset_ns = None if before_ms is None else max(0, self.now_ms - before_ms) * MS
            self.driver.send(EndOfUtterance(offset_ns))

        @rule(modality=st.sampled_from([V, T]))
        def end_of_modality(self, modality: Modality) -> None:
            if self.now_ms > 4_000:
                self.driver.send(EndOfModality(modality))
                self.is_whole = False

        @rule()
        def what_was_held_comes(self) -> None:
            held, self.held = self.held, []
            for message in held:
                self.send(message, "sent")

        @invariant()
        def final_results_never_change(self) -> None:
            if not hasattr(self, "driver"):
                return
            revisions: dict[tuple[type[Plan], int], int] = {}
            final: set[tuple[type[Plan], int]] = set()
            for plan in [*self.driver.plans, *self.driver.utterances]:
                name = (type(plan), plan.index)
                assert name not in final
                assert plan.revision == revisions.get(name, -1) + 1
                assert not plan.is_final or all(span.is_final for span in (plan.words.spans if plan.words else ()))
                revisions[name] = plan.revision
                final |= {name} if plan.is_final else set()

        def teardown(self) -> None:
            if not hasattr(self, "driver"):
                return
            self.driver.send(Close())
            for totals in self.driver.core.totals.values():
                fates = (totals.used, totals.skipped, totals.late, totals.dropped, totals.rejected, totals.replaced)
                assert totals.received == sum(fates)
                assert min(fates) >= 0
            windows, utterances = self.driver.finals, [one for one in self.driver.utterances if one.is_final]
            for plans in (windows, utterances):
                assert [plan.index for plan in plans] == list(range(len(plans)))
            everything = (*self.driver.plans, *self.driver.utterances)
            named = [{(type(plan), plan.index) for plan in plans} for plans in ((*windows, *utterances), everything)]
            assert named[0] == named[1], "what had a first result has a final one"
            for before, after in pairwise(utterances):
                assert before.start_ns <= before.end_ns <= after.start_ns
            shown = {id(span) for plan in (*windows, *utterances) if plan.words for span in plan.words.spans}
            assert len(shown) == self.driver.core.totals[T].used
            if self.is_whole:
                assert not any(self.driver.core.totals[one].late for one in (A, V))
                self.equals_a_recording(windows)

        def equals_a_recording(self, windows: list[Plan]) -> None:
            recorded = driver_of(SessionSettings(frozenset(Modality), is_recorded=True, **self.options))
            media = sorted((one for one in self.sent if one.modality != T), key=lambda one: one.start_ns)
            numbers = dict.fromkeys(Modality, 0)
            for one in media:
                recorded.send(replace(one, sequence=numbers[one.modality]))
                numbers[one.modality] += 1
            recorded.send(Close())
            # Words may reach beyond the media.
            windows = windows[: len(recorded.finals)]
            for live, played in zip(windows, recorded.finals, strict=True):
                for one, other in ((live.hops, played.hops), (live.faces, played.faces)):
                    assert [piece is None for piece in one] == [piece is None for piece in other]
                assert (live.statuses[A] == Status.USED) == (played.statuses[A] == Status.USED)

    return Session


def test_whatever_comes_totals_add_up_and_finals_stay(session) -> None:
    driver_of = type(session(A))
    run_state_machine_as_test(
        make_machine(driver_of),
        settings=settings(
            max_examples=50, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
