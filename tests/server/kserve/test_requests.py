"""What of an inference request is let through. That Triton answers what is let through is in rpc/test_kserve.py."""

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from contract.models import MODELS
from server.kserve.errors import KServeError
from server.kserve.requests import MAX_TEXT_BYTES, check_inference

SIZES = {"FP32": 4, "UINT8": 1, "INT64": 8}
FIELDS = {"FP32": "fp32_contents", "UINT8": "uint_contents", "INT64": "int64_contents", "BYTES": "bytes_contents"}


def text(*values: bytes) -> bytes:
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def raw_request(model: str, batch: int = 1) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model)
    for tensor in MODELS[model].inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.dtype, shape=[batch, *tensor.shape])
        count = batch * int(np.prod(tensor.shape))
        is_text = tensor.dtype == "BYTES"
        request.raw_input_contents.append(text(*[b"hello"] * count) if is_text else bytes(count * SIZES[tensor.dtype]))
    return request


def typed_request(model: str) -> service_pb2.ModelInferRequest:
    request = raw_request(model)
    del request.raw_input_contents[:]
    for tensor in request.inputs:
        zero = b"" if tensor.datatype == "BYTES" else 0
        getattr(tensor.contents, FIELDS[tensor.datatype]).extend([zero] * int(np.prod(tensor.shape)))
    return request


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("make", [raw_request, typed_request])
def test_what_the_contract_says_passes_unchanged(model, make):
    request = make(model)
    before = request.SerializeToString(deterministic=True)
    assert check_inference(request) is MODELS[model]
    assert request.SerializeToString(deterministic=True) == before


def test_the_largest_batch_passes_and_one_more_does_not():
    assert check_inference(raw_request("window", 16))
    with pytest.raises(KServeError, match="17 items, expected 1 to 16"):
        check_inference(raw_request("window", 17))


def renamed(request):
    request.inputs[0].name = "Stub process is not healthy"


def missing(request):
    del request.inputs[1], request.raw_input_contents[1]


def twice(request):
    request.inputs[1].CopyFrom(request.inputs[0])


def other_type(request):
    request.inputs[0].datatype = "FP64"


def other_shape(request):
    request.inputs[0].shape[1] += 1


def many_dimensions(request):
    request.inputs[0].shape.extend([1] * 100_000)


def negative_batch(request):
    request.inputs[0].shape[0] = -1


def unequal_batches(request):
    request.inputs[1].shape[0] = 2
    request.raw_input_contents[1] *= 2


def short_content(request):
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]


def surplus_content(request):
    request.raw_input_contents.append(b"")


def both_contents(request):
    request.inputs[0].contents.int64_contents.append(1)


def unknown_parameter(request):
    request.parameters["sequence_id"].int64_param = 7


def unknown_input_parameter(request):
    request.inputs[0].parameters["binary_data_size"].int64_param = 7


def wrong_parameter_type(request):
    request.parameters["timeout"].string_param = "soon"


def unknown_output(request):
    request.outputs.add(name="SECRET")


def too_many_classes(request):
    request.outputs.add(name="EMOTION").parameters["classification"].int64_param = 2**40


def classes_of_a_matrix(request):
    request.outputs.add(name="EMBEDDING").parameters["classification"].int64_param = 1


def long_id(request):
    request.id = "x" * 1_000


def no_version(request):
    request.model_version = "../1"


BROKEN = [
    (renamed, "no input 'Stub process is not healthy'"),
    (missing, "needs the input ATTENTION_MASK"),
    (twice, "INPUT_IDS is there twice"),
    (other_type, "'FP64', expected INT64"),
    (other_shape, r"\[1, 65\], expected \[B, 64\]"),
    (many_dimensions, "of 100002 dimensions"),
    (negative_batch, "-1 items"),
    (unequal_batches, "2 items, another one has 1"),
    (short_content, "511 raw bytes, its shape says 512"),
    (surplus_content, "3 entries for 2 inputs"),
    (both_contents, "contents beside raw_input_contents"),
    (unknown_parameter, "parameter 'sequence_id'"),
    (unknown_input_parameter, "parameter 'binary_data_size'"),
    (wrong_parameter_type, "string_param, expected int64_param"),
    (unknown_output, "no output 'SECRET'"),
    (too_many_classes, "classification"),
    (classes_of_a_matrix, "classification"),
    (long_id, "id has more than"),
    (no_version, "not a number"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN, ids=[change.__name__ for change, _ in BROKEN])
def test_everything_else_is_refused_and_said_briefly(change, said):
    request = raw_request("text_encoder")
    change(request)
    with pytest.raises(KServeError, match=said) as error:
        check_inference(request)
    assert error.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text(b"a", b"b"), "more than 1 elements"),
        (b"", "0 elements"),
        (text(b"abc")[:-1], "end beyond its raw bytes"),
        (text(b"a") + b"\0\0", "end beyond its raw bytes|more than 1"),
        (b"\xff\xff\xff\xff", "end beyond its raw bytes"),
        (text(b"x" * (MAX_TEXT_BYTES + 1)), f"at most {MAX_TEXT_BYTES}"),
        (bytes(8_000_000), "more than 1 elements"),
    ],
)
def test_texts_are_counted_and_measured(content, said):
    request = raw_request("tokenizer")
    request.raw_input_contents[0] = content
    with pytest.raises(KServeError, match=said):
        check_inference(request)


def test_typed_contents_of_another_type_or_number():
    request = typed_request("audio_encoder")
    request.inputs[0].contents.fp32_contents.append(0)
    with pytest.raises(KServeError, match="24001 elements, its shape says 24000"):
        check_inference(request)
    request.inputs[0].contents.Clear()
    request.inputs[0].contents.int64_contents.append(0)
    with pytest.raises(KServeError, match="int64_contents, expected fp32_contents"):
        check_inference(request)
