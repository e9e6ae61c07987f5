"""Whisper's encoder (Radford et al. 2022) as a source of acoustic features.

Its weights come as a CTranslate2 `model.bin`, whose tensors are read into transformers' modules; the encoder runs on
the clip's own length, not on 30 padded seconds.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from contract.timing import SAMPLE_RATE
from training.teachers.fetch import TeacherError

_DTYPES: Final = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_PARTS: Final = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
    "self_attn.out_proj": "self_attention/linear_1",
}
"""transformers' names of a layer's parts and CTranslate2's; query, key and value lie in one matrix there."""


class WhisperFeatures:
    """PCM -> hidden states of every layer."""

    def __init__(self, folder: Path) -> None:
        weights = read_ctranslate2(folder / "model.bin")
        width, mels, _ = weights["encoder/conv1/weight"].shape
        hidden = weights["encoder/layer_0/ffn/linear_0/weight"].shape[0]
        layers = len({name.split("/")[1] for name in weights if name.startswith("encoder/layer_")} - {"layer_norm"})
        config = WhisperConfig(
            d_model=width,
            num_mel_bins=mels,
            encoder_layers=layers,
            encoder_attention_heads=int(weights["encoder/num_heads"]),
            encoder_ffn_dim=hidden,
        )
        self.encoder: Any = WhisperEncoder(config)
        self.encoder.load_state_dict(encoder_state(weights, layers))
        self.encoder.train(False)
        extractor: Any = WhisperFeatureExtractor
        self.extract: Any = extractor(feature_size=mels)

    @torch.inference_mode()
    def layers(self, pcm: NDArray[np.float32]) -> list[Tensor]:
        """Return the hidden states [T, E], 20 ms a step, after the convolutions and after each layer."""
        mel = self.extract(pcm, sampling_rate=SAMPLE_RATE, padding=False, return_tensors="pt")["input_features"]
        x = nn.functional.gelu(self.encoder.conv1(mel))
        x = nn.functional.gelu(self.encoder.conv2(x)).transpose(1, 2)
        x = x + self.encoder.embed_positions.weight[: x.shape[1]]
        states = [x[0]]
        for layer in self.encoder.layers:
            out = layer(x, None)
            x = out[0] if isinstance(out, tuple) else out
            states.append(x[0])
        return states

    def statistics(self, pcm: NDArray[np.float32]) -> Tensor:
        """Return mean and deviation over time of every layer but the first, [layers * 2 * E]."""
        return torch.cat([torch.cat([x.mean(dim=0), x.std(dim=0)]) for x in self.layers(pcm)[1:]])


def encoder_state(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Return transformers' state dict of the encoder."""
    state = {"embed_positions.weight": weights["encoder/position_encodings/encodings"]}
    for conv in ("conv1", "conv2"):
        state |= {f"{conv}.{kind}": weights[f"encoder/{conv}/{kind}"] for kind in ("weight", "bias")}
    state |= _norm(weights, "layer_norm", "encoder/layer_norm")
    for i in range(layers):
        prefix, source = f"layers.{i}", f"encoder/layer_{i}"
        for ours, theirs in _PARTS.items():
            if "norm" in ours:
                state |= _norm(weights, f"{prefix}.{ours}", f"{source}/{theirs}")
            else:
                state |= {f"{prefix}.{ours}.{k}": weights[f"{source}/{theirs}/{k}"] for k in ("weight", "bias")}
        joint, bias = (weights[f"{source}/self_attention/linear_0/{kind}"].chunk(3) for kind in ("weight", "bias"))
        for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
            state[f"{prefix}.self_attn.{name}.weight"] = joint[index]
            if name != "k_proj":  # Whisper's keys have no bias
                state[f"{prefix}.self_attn.{name}.bias"] = bias[index]
    return state


def _norm(weights: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    return {f"{ours}.weight": weights[f"{theirs}/gamma"], f"{ours}.bias": weights[f"{theirs}/beta"]}


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """Return the variables of a CTranslate2 model file (binary version 6) as FP32; raises TeacherError."""
    with path.open("rb") as file:
        version = _number(file, "I")
        if version != 6:
            raise TeacherError(f"{path} has CTranslate2 version {version}, 6 is understood")
        _text(file), _number(file, "I")  # name and revision of the model
        return dict(_variable(file) for _ in range(_number(file, "I")))


def _variable(file: BinaryIO) -> tuple[str, Tensor]:
    name = _text(file)
    shape = [_number(file, "I") for _ in range(_number(file, "B"))]
    dtype, size = _DTYPES[_number(file, "B")], _number(file, "I")
    values = np.frombuffer(file.read(size), dtype=dtype).reshape(shape)
    return name, torch.from_numpy(values.astype(np.float32))


def _number(file: BinaryIO, kind: str) -> int:
    value: int
    (value,) = struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))
    return value


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).decode().rstrip("\0")
