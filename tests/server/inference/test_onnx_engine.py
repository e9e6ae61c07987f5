from pathlib import Path

import numpy as np
import pytest

from server.inference.engine import EngineError
from server.inference.onnx_engine import OnnxEngine


async def test_serves_the_newest_version(small_repository: Path) -> None:
    newest = small_repository / "double" / "10"
    newest.mkdir()
    (newest / "model.onnx").write_bytes((small_repository / "double" / "1" / "model.onnx").read_bytes())
    (small_repository / "double" / "2").mkdir()  # older, and would not load
    engine = await OnnxEngine.open(small_repository)
    assert {model.name: model.versions for model in await engine.models()}["double"] == ("10",)
    outputs = await engine.infer("double", {"X": np.ones((2, 4), np.float32)}, 5.0)
    np.testing.assert_array_equal(outputs["Y"], np.full((2, 4), 2, np.float32))
    await engine.close()


async def test_ensembles_are_left_out(onnx_engine: OnnxEngine) -> None:
    assert "moodstream" not in {model.name for model in await onnx_engine.models()}
    with pytest.raises(EngineError, match="moodstream: is not served by the in-process engine"):
        await onnx_engine.infer("moodstream", {}, 1.0)


async def test_a_model_that_can_not_be_read_is_named(small_repository: Path) -> None:
    (small_repository / "double" / "1" / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineError, match=r"double: can't be loaded"):
        await OnnxEngine.open(small_repository)


async def test_a_config_that_can_not_be_read_is_named(small_repository: Path) -> None:
    (small_repository / "double" / "config.pbtxt").write_text("name: double double")
    with pytest.raises(EngineError, match=r"double: config.pbtxt can't be read"):
        await OnnxEngine.open(small_repository)


async def test_an_unknown_backend_is_named(small_repository: Path) -> None:
    config = small_repository / "double" / "config.pbtxt"
    config.write_text(config.read_text().replace('"onnxruntime"', '"pytorch"'))
    with pytest.raises(EngineError, match="can't run the backend 'pytorch'"):
        await OnnxEngine.open(small_repository)


async def test_an_empty_folder_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no \*/config.pbtxt"):
        await OnnxEngine.open(tmp_path)


async def test_an_error_inside_the_model_is_the_inputs(small_repository: Path) -> None:
    engine = await OnnxEngine.open(small_repository)
    with pytest.raises(EngineError, match="pick"):
        await engine.infer("pick", {"INDEX": np.array([[7]], np.int64)}, 5.0)
    await engine.close()
