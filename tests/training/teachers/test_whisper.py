import struct

import numpy as np
import pytest
import torch

from training.teachers.fetch import TeacherError
from training.teachers.whisper import read_ctranslate2

DTYPES = {np.dtype("float32"): 0, np.dtype("float16"): 4, np.dtype("int8"): 1}


def name(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def write(path, variables, version=6):
    content = struct.pack("<I", version) + name("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for key, value in variables.items():
        content += name(key) + struct.pack("<B", value.ndim) + struct.pack(f"<{value.ndim}I", *value.shape)
        content += struct.pack("<BI", DTYPES[value.dtype], value.nbytes) + value.tobytes()
    path.write_bytes(content)


def test_reads_every_variable_as_fp32(tmp_path):
    variables = {
        "encoder/conv1/weight": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
        "encoder/num_heads": np.array(6, dtype=np.int8),
        "b": np.ones(2, dtype=np.float32),
    }
    write(tmp_path / "model.bin", variables)
    read = read_ctranslate2(tmp_path / "model.bin")
    assert read.keys() == variables.keys()
    for key, value in variables.items():
        torch.testing.assert_close(read[key], torch.tensor(value.astype(np.float32)))


def test_another_version_is_refused(tmp_path):
    write(tmp_path / "model.bin", {}, version=3)
    with pytest.raises(TeacherError, match="version 3, 6 is understood"):
        read_ctranslate2(tmp_path / "model.bin")
