"""Renders Triton's `config.pbtxt` from the model definitions.

The same files are read by the embedded server (whose Python-based backend is called `onnxruntime`) and by the official
container. Nothing in them depends on the machine: no path, no GPU count (`KIND_AUTO`).
"""

import json
from typing import Final, Literal

from contract.labels import EMOTIONS, MODALITIES, POLARITIES
from contract.models import MOODSTREAM, TOKENIZER, WINDOW, ModelSpec, TensorSpec, contract_parameters

Profile = Literal["cpu", "gpu"]

_TRITON_TYPE: Final = {"FP32": "TYPE_FP32", "UINT8": "TYPE_UINT8", "INT64": "TYPE_INT64", "BYTES": "TYPE_STRING"}
_WARMUP_SOURCE: Final = {"FP32": "zero_data", "UINT8": "zero_data", "INT64": "zero_data"}
_GPU_BATCH_SIZES: Final = (1, 4, 16, 64)
LABEL_FILES: Final = {
    "EMOTION": ("emotions.txt", EMOTIONS),
    "POLARITY": ("polarities.txt", POLARITIES),
    "CONTRIBUTION": ("modalities.txt", MODALITIES),
}
"""By output: the file beside `config.pbtxt` from which Triton takes the names of classes, and its lines."""


def render_config(spec: ModelSpec, tokenizer_sha256: str, profile: Profile = "cpu") -> str:
    """Return the text of `config.pbtxt` for one model.

    The `cpu` profile runs one thread a model and never delays a request: the front end sends batches already (queue
    delay only adds latency on a CPU). The `gpu` profile adds dynamic batching over several front ends and a warm-up per
    batch size, since the first request of each new size takes seconds on a GPU (triton-inference-server/server#7776).
    """
    blocks = [
        "# Written by `python -m training export` from contract/models.py. Do not edit.",
        f'name: "{spec.name}"',
        'platform: "ensemble"' if spec.backend == "ensemble" else f'backend: "{spec.backend}"',
        f"max_batch_size: {spec.max_batch_size}",
        "version_policy { latest { num_versions: 2 } }",
        *(_tensor("input", tensor) for tensor in spec.inputs),
        *(_tensor("output", tensor) for tensor in spec.outputs),
    ]
    if spec.backend == "ensemble":
        blocks.append(_ensemble_steps())
    else:
        blocks.append(
            "instance_group [ { count: 1 kind: %s } ]" % ("KIND_CPU" if spec.backend == "python" else "KIND_AUTO")
        )
    if spec.backend == "onnxruntime":
        blocks += _onnx_settings(spec, profile)
    blocks += [_parameter(key, value) for key, value in contract_parameters(tokenizer_sha256).items()]
    return "\n".join(blocks) + "\n"


def _tensor(kind: str, tensor: TensorSpec) -> str:
    dims = ", ".join(map(str, tensor.shape))
    labels = f' label_filename: "{LABEL_FILES[tensor.name][0]}"' if tensor.name in LABEL_FILES else ""
    return f'{kind} [ {{ name: "{tensor.name}" data_type: {_TRITON_TYPE[tensor.dtype]} dims: [ {dims} ]{labels} }} ]'


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: {json.dumps(value)} }} }}'


def _onnx_settings(spec: ModelSpec, profile: Profile) -> list[str]:
    if profile == "cpu":
        return [_parameter("intra_op_thread_count", "1"), _parameter("inter_op_thread_count", "1")]
    sizes = [size for size in _GPU_BATCH_SIZES if size <= spec.max_batch_size]
    preferred = ", ".join(map(str, sizes))
    return [
        f"dynamic_batching {{ preferred_batch_size: [ {preferred} ] max_queue_delay_microseconds: 2000 }}",
        *(_warmup(spec, size) for size in sizes),
    ]


def _warmup(spec: ModelSpec, batch_size: int) -> str:
    inputs = " ".join(
        f'inputs {{ key: "{tensor.name}" value: {{ data_type: {_TRITON_TYPE[tensor.dtype]} '
        f"dims: [ {', '.join(map(str, tensor.shape))} ] {_WARMUP_SOURCE[tensor.dtype]}: true }} }}"
        for tensor in spec.inputs
    )
    return f'model_warmup [ {{ name: "batch_{batch_size}" batch_size: {batch_size} {inputs} }} ]'


def _ensemble_steps() -> str:
    """`moodstream` = tokenizer -> window: the tokenizer's outputs have the names of the window's inputs."""
    tokenized = {tensor.name for tensor in TOKENIZER.outputs}
    steps = []
    for spec in (TOKENIZER, WINDOW):
        maps = [f'input_map {{ key: "{t.name}" value: "{t.name}" }}' for t in spec.inputs]
        maps += [f'output_map {{ key: "{t.name}" value: "{t.name}" }}' for t in spec.outputs]
        steps.append(f'{{ model_name: "{spec.name}" model_version: -1 {" ".join(maps)} }}')
    assert {t.name for t in WINDOW.inputs} == tokenized | {t.name for t in MOODSTREAM.inputs} - {"TEXT"}
    return f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}"
