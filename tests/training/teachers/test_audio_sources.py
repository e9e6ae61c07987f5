import numpy as np
import pytest
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperFeatureExtractor,
    WhisperModel,
)
from transformers import WhisperConfig as HfWhisperConfig

from training.teachers import packages
from training.teachers.audio_sources import (
    Described,
    Egemaps,
    Resemblyzer,
    SpeechEmbedding,
    Whisper,
    describe_all,
    moments,
    to_slots,
)
from training.teachers.fetch import TeacherError
from training.teachers.hf_speech import HuggingFaceSpeech


def voice(seconds: float) -> np.ndarray:
    t = np.arange(int(16_000 * seconds)) / 16_000
    return (0.2 * np.sin(2 * np.pi * 180 * t) * (1 + np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def test_slots_average_the_steps_inside_them():
    fine = torch.arange(40.0).unsqueeze(1)
    torch.testing.assert_close(to_slots(fine, 0.01, 4)[:, 0], torch.tensor([4.5, 14.5, 24.5, 34.5]))
    torch.testing.assert_close(to_slots(fine[:8], 0.05, 4)[:, 0], torch.tensor([0.5, 2.5, 4.5, 6.5]))


def test_slots_without_a_step_take_the_nearest():
    coarse = torch.tensor([[1.0], [2.0]])
    assert to_slots(coarse, 0.2, 4)[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert to_slots(coarse, 0.01, 3)[:, 0].tolist() == [1.5, 2.0, 2.0]


def test_moments():
    x = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert moments(x).tolist() == [2.0, 2.0, 1.0, 0.0]
    assert moments(x[:1]).tolist() == [1.0, 2.0, 0.0, 0.0]


class Counter:
    """Describes a recording by its number of samples."""

    def key(self):
        return {}

    def describe(self, pcm):
        states = torch.full((len(pcm) // 160, 2), float(len(pcm)))
        return Described({"h1": states}, 0.01, torch.tensor([float(len(pcm))]))


def test_recordings_are_padded_and_masked():
    output = describe_all(Counter(), [np.zeros(n, dtype=np.float32) for n in (1_600, 8_000, 99_200)], 10)
    assert output.features["h1"].shape == (3, 10, 2)
    assert output.masks["h1"].sum(1).tolist() == [1, 5, 10]
    assert not output.features["h1"][1, 5:].any()
    assert output.features["vector"][:, 0].tolist() == [1_600, 8_000, 99_200]


@pytest.mark.parametrize(
    ("source", "name", "widths"),
    [
        (Whisper, "whisper", {"h1": 384, "h2": 384, "vector": 3_072}),
        (SpeechEmbedding, "speech_embedding", {"h1": 96, "vector": 192}),
        (Resemblyzer, "resemblyzer", {"h1": 256, "vector": 768}),
    ],
)
def test_fetched_sources(weights, source, name, widths):
    net = source(weights(name))
    output = describe_all(net, [voice(1.0), voice(0.3)], 12)
    assert {key: feature.shape[-1] for key, feature in output.features.items()} == widths
    assert output.masks["h1"].sum(1).tolist() == [10, 3]
    assert all(feature.isfinite().all() for feature in output.features.values())
    assert len(net.key()["weights"]) == 64


def test_a_step_of_speech_embedding_is_about_its_own_time(weights):
    """A sound changes nothing before it, as long as it is not the loudest: the decibels are cut 80 below that."""
    net = SpeechEmbedding(weights("speech_embedding"))
    before = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    before[:2_000] += 4 * voice(0.125)
    after = before.copy()
    after[8_000:9_600] += voice(0.1)
    change = (net.describe(after).sequences["h1"] - net.describe(before).sequences["h1"]).abs().amax(1)
    assert len(change) == 12
    assert change[:6].max() < 1e-3 < 1.0 < change[7:9].max(), "step 6 begins at 0.48 s"


def test_egemaps_needs_its_package(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(packages.importlib, "import_module", missing)
    with pytest.raises(TeacherError, match=r"teacher egemaps needs the package .*pip install opensmile==2\.6\.0"):
        Egemaps()


def test_egemaps():
    pytest.importorskip("opensmile")
    output = describe_all(Egemaps(), [voice(1.0), voice(0.12)], 12)
    assert output.features["h1"].shape == (2, 12, 25)
    assert output.features["vector"].shape == (2, 88)
    assert output.features["vector"].isfinite().all()


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "whisper"])
def test_any_hugging_face_encoder(tmp_path, kind):
    torch.manual_seed(0)
    if kind == "whisper":
        sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
        heads = {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 20}
        tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
        net, extractor = WhisperModel(HfWhisperConfig(**sizes, **heads, **tokens)), WhisperFeatureExtractor()
    else:
        config, model = (Wav2Vec2Config, Wav2Vec2Model) if kind == "wav2vec2" else (HubertConfig, HubertModel)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        small = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
        net, extractor = model(config(**sizes, **small)), Wav2Vec2FeatureExtractor()
    net.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    source = HuggingFaceSpeech(str(tmp_path))
    output = describe_all(source, [voice(1.0)], 12)
    assert output.features["h1"].shape == (1, 12, 16)
    assert output.features["h2"].shape == (1, 12, 16)
    assert output.features["vector"].shape == (1, 2 * 2 * 16)
    assert output.masks["h1"].sum() == 10
    assert source.key() == HuggingFaceSpeech(str(tmp_path)).key()


def test_no_such_encoder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TeacherError, match="no Hugging Face speech encoder at"):
        HuggingFaceSpeech(str(tmp_path)).describe(voice(0.5))
