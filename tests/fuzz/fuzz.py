"""Fuzzing of what reads the bytes of strangers.

    python tests/fuzz/fuzz.py TARGET tests/fuzz/corpus/TARGET -max_total_time=600

Needs `atheris`. Targets: wire, kserve, jpeg, png, flac, opus.
"""

import sys
from collections.abc import Callable
from contextlib import suppress

import atheris

with atheris.instrument_imports(include=["server", "google.protobuf"]):
    from tritonclient.grpc import service_pb2

    from server.kserve.errors import KServeError
    from server.kserve.requests import MAX_FIELDS, check_inference
    from server.media.audio_codecs import AudioEncoding, make_decoder
    from server.media.errors import MediaError
    from server.media.images import VideoEncoding, VideoSettings, decode, read_size
    from server.wire import MalformedError, parse


def _wire(data: bytes) -> None:
    with suppress(MalformedError):
        parse(service_pb2.ModelInferRequest, data, MAX_FIELDS)


def _kserve(data: bytes) -> None:
    with suppress(MalformedError, KServeError):
        check_inference(parse(service_pb2.ModelInferRequest, data, MAX_FIELDS))


def _image(encoding: VideoEncoding) -> Callable[[bytes], None]:
    settings = VideoSettings(encoding)

    def target(data: bytes) -> None:
        with suppress(MediaError):
            decode(settings, read_size(settings, data), data, 4)

    return target


def _audio(encoding: AudioEncoding) -> Callable[[bytes], None]:
    decoder = make_decoder(encoding, 16_000 if encoding is AudioEncoding.FLAC else 48_000, 1)

    def target(data: bytes) -> None:
        with suppress(MediaError):
            decoder.decode(data, 240_000)

    return target


TARGETS = {
    "wire": _wire,
    "kserve": _kserve,
    "jpeg": _image(VideoEncoding.JPEG),
    "png": _image(VideoEncoding.PNG),
    "flac": _audio(AudioEncoding.FLAC),
    "opus": _audio(AudioEncoding.OPUS),
}

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
