"""The composed graph against the encoders and fusion called one by one, as a session calls them."""

import numpy as np
import pytest

from contract.timing import CHUNK_SAMPLES, HOP_SAMPLES, HOPS_PER_WINDOW, VIDEO_SLOTS


def stream(run, batch):
    """Encode hop by hop, face by face, then fuse; masked slots hold what a session that never had them holds: zeros."""
    hops = [
        run("audio_encoder", {"PCM": batch["PCM"][:, i * HOP_SAMPLES : i * HOP_SAMPLES + CHUNK_SAMPLES]})["EMBEDDING"]
        for i in range(HOPS_PER_WINDOW)
    ]
    faces = [run("video_encoder", {"FACE": batch["FACES"][:, i]})["EMBEDDING"] for i in range(VIDEO_SLOTS)]
    text = run("text_encoder", {key: batch[key] for key in ("INPUT_IDS", "ATTENTION_MASK")})["EMBEDDING"]
    embeddings = {"AUDIO": np.concatenate(hops, axis=1), "VIDEO": np.stack(faces, axis=1), "TEXT": text}
    masks = {f"{name}_MASK": batch[f"{name}_MASK"] for name in embeddings}
    cached = {name: value * masks[f"{name}_MASK"][..., None] for name, value in embeddings.items()}
    return run("fusion", cached | masks)


@pytest.mark.parametrize("absent", ["", "AUDIO", "VIDEO", "TEXT"])
def test_window_equals_streaming(absent, run, inputs):
    batch = inputs("window", 3)
    batch["TEXT_MASK"] = batch["ATTENTION_MASK"].astype(np.float32)
    batch["AUDIO_MASK"] = batch["AUDIO_MASK"][:, ::-1].copy()  # right-aligned: the newest slot is the last
    batch["VIDEO_MASK"] = batch["VIDEO_MASK"][:, ::-1].copy()
    if absent:
        batch[f"{absent}_MASK"][:] = 0
    expected = stream(run, batch)
    for key, value in run("window", batch).items():
        np.testing.assert_allclose(value, expected[key], atol=1e-5, err_msg=key)


def test_the_future_of_a_window_does_not_change_its_past(run, inputs):
    """Half a second later, the embeddings of the hops that both windows hold are the same."""
    pcm = inputs("window", 1)["PCM"]
    later = np.concatenate([pcm[:, HOP_SAMPLES:], np.full((1, HOP_SAMPLES), 0.3, dtype=np.float32)], axis=1)
    for hop in range(1, HOPS_PER_WINDOW):
        a = run("audio_encoder", {"PCM": pcm[:, hop * HOP_SAMPLES : hop * HOP_SAMPLES + CHUNK_SAMPLES]})
        b = run("audio_encoder", {"PCM": later[:, (hop - 1) * HOP_SAMPLES : (hop - 1) * HOP_SAMPLES + CHUNK_SAMPLES]})
        np.testing.assert_array_equal(a["EMBEDDING"], b["EMBEDDING"])
