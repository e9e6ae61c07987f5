import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from server.triton.client import _to_array, zero_inputs


def config(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


def test_zero_inputs() -> None:
    inputs = zero_inputs(
        config(
            """
            max_batch_size: 4
            input { name: "A" data_type: TYPE_FP32 dims: [ 2, -1 ] }
            input { name: "B" data_type: TYPE_STRING dims: [ 1 ] }
            input { name: "C" data_type: TYPE_INT64 dims: [ 1 ] optional: true }
            """
        )
    )
    assert inputs.keys() == {"A", "B"}
    assert (inputs["A"].shape, inputs["A"].dtype) == ((1, 2, 1), np.float32)
    assert inputs["B"].tolist() == [[b""]]


def test_no_batch_dimension_where_the_model_has_none() -> None:
    inputs = zero_inputs(config('input { name: "A" data_type: TYPE_UINT8 dims: [ 3 ] }'))
    assert inputs["A"].shape == (3,)


def test_outputs_are_decoded() -> None:
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    np.testing.assert_array_equal(_to_array("A", "INT64", (2, 3), array.tobytes()), array)
    assert _to_array("B", "BYTES", (2,), b"\x01\0\0\0x\x02\0\0\0yz").tolist() == [b"x", b"yz"]


@pytest.mark.parametrize("content", [b"", b"\0" * 4, b"\0" * 12])
def test_missing_bytes_are_noticed(content: bytes) -> None:
    with pytest.raises(ValueError, match=rf"output A has {len(content)} bytes, its shape \[2\] FP32 says 8"):
        _to_array("A", "FP32", (2,), content)


def test_missing_strings_are_noticed() -> None:
    with pytest.raises(ValueError, match="output A has 0 elements"):
        _to_array("A", "BYTES", (1,), b"")
