import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moodstream.v1 import clip_pb2
from tritonclient.grpc import service_pb2

from server.wire import MalformedError, check_fields, parse

Request = service_pb2.ModelInferRequest
EMPTY_INPUT = b"\x2a\x00"
"""`inputs { }`: two bytes on the wire."""


def test_a_message_within_its_bound_is_parsed():
    request = Request(model_name="fusion", id="1", raw_input_contents=[b"abc" * 100_000])
    request.inputs.add(name="AUDIO", shape=[1, 40, 128]).contents.fp32_contents.extend([0.5] * 10_000)
    assert parse(Request, request.SerializeToString(), 20) == request


@pytest.mark.parametrize(
    "data",
    [
        EMPTY_INPUT * 100,
        Request(raw_input_contents=[b""] * 100).SerializeToString(),
        Request(inputs=[Request.InferInputTensor(contents={"bytes_contents": [b""] * 100})]).SerializeToString(),
        b"\xa2\x06\x00" * 100,  # a field that nobody knows
    ],
)
def test_a_bomb_is_refused_before_it_is_parsed(data):
    with pytest.raises(MalformedError, match="more than 99 fields"):
        parse(Request, data, 99)


def test_the_elements_of_messages_within_messages_are_counted():
    spans = clip_pb2.AnalyzeClipRequest()
    for _ in range(50):
        spans.config.file.transcript.add()
    data = spans.SerializeToString()
    assert len(parse(clip_pb2.AnalyzeClipRequest, data, 60).config.file.transcript) == 50
    with pytest.raises(MalformedError):
        parse(clip_pb2.AnalyzeClipRequest, data, 49)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05abc", b"\x0b", b"\x0a", b"\xff" * 20, b"\x2a\x02\x2a\x05"])
def test_what_is_no_message_is_told_without_its_content(data):
    with pytest.raises(MalformedError, match=r"^not a valid inference\.ModelInferRequest$"):
        parse(Request, data, 1_000)


@given(st.binary(max_size=200))
def test_whatever_protobuf_parses_is_counted_without_an_error_of_ours(data):
    with contextlib.suppress(MalformedError):
        check_fields(data, Request.DESCRIPTOR, 1_000)
