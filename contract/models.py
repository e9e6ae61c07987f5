"""The one typed definition of every model: its tensors, batch size, and the `config.pbtxt` that follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from contract import labels, timing
from contract.faces import FACE_SIZE
from contract.text import TEXT_TOKENS

DType = Literal["FP32", "UINT8", "INT64", "BYTES"]
EMBEDDING_DIM: Final = 128
"""`D`, the shared width of all embeddings."""
CONTRACT_VERSION: Final = "1"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `shape` leaves out the batch dimension."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class ModelSpec:
    """One model of the repository."""

    name: str
    backend: Literal["onnxruntime", "python", "ensemble"]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int


_D = EMBEDDING_DIM
_EMOTION = TensorSpec("EMOTION", "FP32", (len(labels.EMOTIONS),))
_SENTIMENT = TensorSpec("SENTIMENT", "FP32", (1,))
_AUDIO_MASK = TensorSpec("AUDIO_MASK", "FP32", (timing.AUDIO_SLOTS,))
_VIDEO_MASK = TensorSpec("VIDEO_MASK", "FP32", (timing.VIDEO_SLOTS,))
_TEXT_MASK = TensorSpec("TEXT_MASK", "FP32", (TEXT_TOKENS,))
_INPUT_IDS = TensorSpec("INPUT_IDS", "INT64", (TEXT_TOKENS,))
_ATTENTION_MASK = TensorSpec("ATTENTION_MASK", "INT64", (TEXT_TOKENS,))
_TEXT = TensorSpec("TEXT", "BYTES", (1,))
_PCM_WINDOW = TensorSpec("PCM", "FP32", (timing.CONTEXT_SAMPLES + timing.WINDOW_SAMPLES,))
_FACES = TensorSpec("FACES", "UINT8", (timing.VIDEO_SLOTS, FACE_SIZE, FACE_SIZE, 3))
_FUSED = (
    _SENTIMENT,
    TensorSpec("POLARITY", "FP32", (len(labels.POLARITIES),)),
    _EMOTION,
    TensorSpec("CONTRIBUTION", "FP32", (len(labels.MODALITIES),)),
)

AUDIO_ENCODER: Final = ModelSpec(
    "audio_encoder",
    "onnxruntime",
    inputs=(TensorSpec("PCM", "FP32", (timing.CHUNK_SAMPLES,)),),
    outputs=(TensorSpec("EMBEDDING", "FP32", (timing.AUDIO_SLOTS_PER_HOP, _D)), _EMOTION, _SENTIMENT),
    max_batch_size=64,
)
VIDEO_ENCODER: Final = ModelSpec(
    "video_encoder",
    "onnxruntime",
    inputs=(TensorSpec("FACE", "UINT8", (FACE_SIZE, FACE_SIZE, 3)),),
    outputs=(TensorSpec("EMBEDDING", "FP32", (_D,)), _EMOTION, _SENTIMENT),
    max_batch_size=64,
)
TEXT_ENCODER: Final = ModelSpec(
    "text_encoder",
    "onnxruntime",
    inputs=(_INPUT_IDS, _ATTENTION_MASK),
    outputs=(TensorSpec("EMBEDDING", "FP32", (TEXT_TOKENS, _D)), _EMOTION, _SENTIMENT),
    max_batch_size=64,
)
FUSION: Final = ModelSpec(
    "fusion",
    "onnxruntime",
    inputs=(
        TensorSpec("AUDIO", "FP32", (timing.AUDIO_SLOTS, _D)),
        _AUDIO_MASK,
        TensorSpec("VIDEO", "FP32", (timing.VIDEO_SLOTS, _D)),
        _VIDEO_MASK,
        TensorSpec("TEXT", "FP32", (TEXT_TOKENS, _D)),
        _TEXT_MASK,
    ),
    outputs=_FUSED,
    max_batch_size=64,
)
WINDOW: Final = ModelSpec(
    "window",
    "onnxruntime",
    inputs=(_PCM_WINDOW, _FACES, _INPUT_IDS, _ATTENTION_MASK, _AUDIO_MASK, _VIDEO_MASK, _TEXT_MASK),
    outputs=_FUSED,
    max_batch_size=16,
)
TOKENIZER: Final = ModelSpec(
    "tokenizer",
    "python",
    inputs=(_TEXT,),
    outputs=(_INPUT_IDS, _ATTENTION_MASK, _TEXT_MASK),
    max_batch_size=64,
)
MOODSTREAM: Final = ModelSpec(
    "moodstream",
    "ensemble",
    inputs=(_PCM_WINDOW, _FACES, _TEXT, _AUDIO_MASK, _VIDEO_MASK),
    outputs=_FUSED,
    max_batch_size=16,
)

MODELS: Final[Mapping[str, ModelSpec]] = {
    spec.name: spec for spec in (AUDIO_ENCODER, VIDEO_ENCODER, TEXT_ENCODER, FUSION, WINDOW, TOKENIZER, MOODSTREAM)
}


def contract_parameters(tokenizer_sha256: str) -> dict[str, str]:
    """Return what every `config.pbtxt` says under `parameters`: label orders, rates, and the tokenizer's hash."""
    return {
        "contract_version": CONTRACT_VERSION,
        "emotions": " ".join(labels.EMOTIONS),
        "polarities": " ".join(labels.POLARITIES),
        "modalities": " ".join(labels.MODALITIES),
        "embedding_dim": str(EMBEDDING_DIM),
        "sample_rate": str(timing.SAMPLE_RATE),
        "hop_samples": str(timing.HOP_SAMPLES),
        "context_samples": str(timing.CONTEXT_SAMPLES),
        "window_samples": str(timing.WINDOW_SAMPLES),
        "video_slot_ns": str(timing.VIDEO_SLOT_NS),
        "face_size": str(FACE_SIZE),
        "text_tokens": str(TEXT_TOKENS),
        "tokenizer_sha256": tokenizer_sha256,
    }
