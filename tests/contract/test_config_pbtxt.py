"""The committed configurations: exactly what the contract renders, and readable by the official container."""

import hashlib
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from contract.config_pbtxt import render_config
from contract.models import MODELS, ModelSpec, contract_parameters

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
TRITON_TYPES = {"FP32": "TYPE_FP32", "UINT8": "TYPE_UINT8", "INT64": "TYPE_INT64", "BYTES": "TYPE_STRING"}
SPECS = list(MODELS.values())


def by_name(spec: ModelSpec) -> str:
    return spec.name


def sha256() -> str:

    return hashlib.sha256((REPOSITORY / "tokenizer/1/tokenizer.json").read_bytes()).hexdigest()


def parse(text: str) -> model_config_pb2.ModelConfig:
    """As Triton does: any field that it doesn't know is an error."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("spec", SPECS, ids=by_name)
def test_the_committed_file_is_what_the_contract_renders(spec):
    assert (REPOSITORY / spec.name / "config.pbtxt").read_text() == render_config(spec, sha256())


def test_nothing_else_is_in_the_repository():
    assert {path.name for path in REPOSITORY.iterdir() if path.is_dir()} == set(MODELS)


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
@pytest.mark.parametrize("spec", SPECS, ids=by_name)
def test_the_official_container_can_read_it(spec, profile):
    config = parse(render_config(spec, sha256(), profile))
    assert config.name == spec.name
    assert config.max_batch_size == spec.max_batch_size
    assert config.version_policy.latest.num_versions == 2
    for tensors, specs in ((config.input, spec.inputs), (config.output, spec.outputs)):
        found = [(t.name, model_config_pb2.DataType.Name(t.data_type), tuple(t.dims)) for t in tensors]
        assert found == [(t.name, TRITON_TYPES[t.dtype], t.shape) for t in specs]
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters.items() >= contract_parameters(sha256()).items()


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
@pytest.mark.parametrize("spec", SPECS, ids=by_name)
def test_nothing_depends_on_the_machine(spec, profile):
    text = render_config(spec, sha256(), profile)
    config = parse(text)
    if spec.backend == "onnxruntime":
        assert config.backend == "onnxruntime"
        (group,) = config.instance_group
        assert group.kind == model_config_pb2.ModelInstanceGroup.Kind.KIND_AUTO
        assert not group.gpus
    assert not config.default_model_filename or "/" not in config.default_model_filename
    assert not list(config.model_operations.op_library_filename)
    values = [value.string_value for value in config.parameters.values()]
    assert not [value for value in values if "/" in value or ".." in value or "$$" in value]


@pytest.mark.parametrize("spec", [s for s in SPECS if s.backend == "onnxruntime"], ids=by_name)
def test_the_gpu_profile_batches_and_warms_up_every_preferred_size(spec):
    config = parse(render_config(spec, sha256(), "gpu"))
    preferred = list(config.dynamic_batching.preferred_batch_size)
    assert preferred
    assert max(preferred) == spec.max_batch_size
    assert [warmup.batch_size for warmup in config.model_warmup] == preferred
    for warmup in config.model_warmup:
        shapes = {name: tuple(value.dims) for name, value in warmup.inputs.items()}
        assert shapes == {tensor.name: tensor.shape for tensor in spec.inputs}


def test_the_cpu_profile_delays_nothing():
    for spec in SPECS:
        assert not parse(render_config(spec, sha256())).HasField("dynamic_batching")


def test_the_ensemble_wires_the_tokenizer_into_the_window():
    steps = parse(render_config(MODELS["moodstream"], sha256())).ensemble_scheduling.step
    assert [step.model_name for step in steps] == ["tokenizer", "window"]
    assert set(steps[1].input_map.values()) - set(steps[0].output_map.values()) == {
        "PCM", "FACES", "AUDIO_MASK", "VIDEO_MASK",
    }  # fmt: skip
    assert set(steps[1].output_map.values()) == {tensor.name for tensor in MODELS["moodstream"].outputs}


def test_every_model_has_a_version_with_its_file():
    names = {"onnxruntime": "model.onnx", "python": "model.py"}
    for spec in SPECS:
        version = REPOSITORY / spec.name / "1"
        assert version.is_dir(), spec.name
        if spec.backend in names:
            assert (version / names[spec.backend]).is_file(), spec.name


def test_label_files_follow_the_contract():
    for spec in SPECS:
        for path in (REPOSITORY / spec.name).glob("*s.txt"):
            expected = contract_parameters("")[path.stem].split()
            assert path.read_text().split() == expected
