"""One graph for a whole window: the exported encoders, then fusion, exactly as the streaming server composes them.

Made of the graphs themselves, so that it takes whatever was exported, and knows no PyTorch.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose, helper, numpy_helper

from contract.models import EMBEDDING_DIM, MODELS, WINDOW, TensorSpec
from contract.timing import AUDIO_SLOTS, CHUNK_SAMPLES, HOP_SAMPLES, HOPS_PER_WINDOW, VIDEO_SLOTS
from training.data.exported import model_file
from training.export.onnx_files import Arrays, check_parity, cpu_session

PARTS: Final = ("audio_encoder", "video_encoder", "text_encoder", "fusion")
_TYPES: Final = {
    "FP32": onnx.TensorProto.FLOAT,
    "UINT8": onnx.TensorProto.UINT8,
    "INT64": onnx.TensorProto.INT64,
}


def compose_window(repository: Path) -> bytes:
    """Return the graph of the newest encoders and fusion of a repository; raises FileNotFoundError."""
    parts = {name: onnx.load(str(model_file(repository, name))) for name in PARTS}
    graphs = {name: compose.add_prefix(model, f"{name}/") for name, model in parts.items()}
    shapes: dict[str, list[int]] = {
        "chunk_shape": [-1, CHUNK_SAMPLES],
        "faces_shape": [-1, *MODELS["video_encoder"].inputs[0].shape],
        "audio_shape": [-1, AUDIO_SLOTS, EMBEDDING_DIM],
        "video_shape": [-1, VIDEO_SLOTS, EMBEDDING_DIM],
        "axis": [1],
    }
    constants = {name: np.array(value) for name, value in shapes.items()}
    nodes = []
    for hop in range(HOPS_PER_WINDOW):
        start = hop * HOP_SAMPLES
        constants |= {f"start{hop}": np.array([start]), f"end{hop}": np.array([start + CHUNK_SAMPLES])}
        nodes.append(helper.make_node("Slice", ["PCM", f"start{hop}", f"end{hop}", "axis"], [f"chunk{hop}"]))
    nodes += [
        helper.make_node("Concat", [f"chunk{hop}" for hop in range(HOPS_PER_WINDOW)], ["chunks"], axis=1),
        helper.make_node("Reshape", ["chunks", "chunk_shape"], ["audio_encoder/PCM"]),
        helper.make_node("Reshape", ["FACES", "faces_shape"], ["video_encoder/FACE"]),
        _same("INPUT_IDS", "text_encoder/INPUT_IDS"),
        _same("ATTENTION_MASK", "text_encoder/ATTENTION_MASK"),
        *(node for name in PARTS[:3] for node in graphs[name].graph.node),
        helper.make_node("Reshape", ["audio_encoder/EMBEDDING", "audio_shape"], ["fusion/AUDIO"]),
        helper.make_node("Reshape", ["video_encoder/EMBEDDING", "video_shape"], ["fusion/VIDEO"]),
        _same("text_encoder/EMBEDDING", "fusion/TEXT"),
        *(_same(f"{name}_MASK", f"fusion/{name}_MASK") for name in ("AUDIO", "VIDEO", "TEXT")),
        *graphs["fusion"].graph.node,
        *(_same(f"fusion/{tensor.name}", tensor.name) for tensor in WINDOW.outputs),
    ]
    initializers = [initializer for model in graphs.values() for initializer in model.graph.initializer]
    initializers += [numpy_helper.from_array(value.astype(np.int64), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes, "window", [_value(t) for t in WINDOW.inputs], [_value(t) for t in WINDOW.outputs], initializers
    )
    functions = [function for model in graphs.values() for function in model.functions]
    opsets = {opset.domain: opset for model in parts.values() for opset in model.opset_import}
    whole = helper.make_model(graph, opset_imports=list(opsets.values()), functions=functions)
    whole.ir_version = max(model.ir_version for model in parts.values())
    content: bytes = whole.SerializeToString()
    return content


def checked_window(repository: Path, windows: Arrays) -> tuple[bytes, float]:
    """Return the composed graph and its largest difference from its parts, run one after the other.

    Args:
        repository: of the parts.
        windows: inputs of `window`.

    Raises:
        ParityError: the difference is above 1e-4.
    """
    content = compose_window(repository)
    return content, check_parity(content, WINDOW, windows, one_after_the_other(repository, windows))


def one_after_the_other(repository: Path, windows: Arrays) -> dict[str, NDArray[Any]]:
    """Return what the encoders and fusion make of windows, called as the streaming server calls them."""
    starts = range(0, HOPS_PER_WINDOW * HOP_SAMPLES, HOP_SAMPLES)
    chunks = np.stack([windows["PCM"][:, start : start + CHUNK_SAMPLES] for start in starts], axis=1)
    count = len(chunks)
    faces = windows["FACES"].reshape(-1, *windows["FACES"].shape[2:])
    audio = _embed(repository, "audio_encoder", {"PCM": chunks.reshape(-1, CHUNK_SAMPLES)})
    text = {name: windows[name] for name in ("INPUT_IDS", "ATTENTION_MASK")}
    inputs = {
        "AUDIO": audio.reshape(count, AUDIO_SLOTS, EMBEDDING_DIM),
        "VIDEO": _embed(repository, "video_encoder", {"FACE": faces}).reshape(count, VIDEO_SLOTS, EMBEDDING_DIM),
        "TEXT": _embed(repository, "text_encoder", text),
        **{f"{name}_MASK": windows[f"{name}_MASK"] for name in ("AUDIO", "VIDEO", "TEXT")},
    }
    names = [tensor.name for tensor in WINDOW.outputs]
    return dict(zip(names, cpu_session(model_file(repository, "fusion")).run(names, inputs), strict=True))


def _embed(repository: Path, model: str, inputs: Arrays) -> NDArray[Any]:
    embedding: NDArray[Any] = cpu_session(model_file(repository, model)).run(["EMBEDDING"], dict(inputs))[0]
    return embedding


def _same(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [target])


def _value(tensor: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], ["batch", *tensor.shape])
