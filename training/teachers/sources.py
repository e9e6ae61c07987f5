"""What teachers are read out of, by name: frozen nets and features of voices, faces and sentences.

A new teacher is a new source: a class of three members (see `Source`), here or in an installed package (entry points
`moodstream.teachers`, see training/names.py), that every task takes whose samples have what it reads.
`hf:NAME_OR_FOLDER` is any encoder of Hugging Face. The small net on top, out of fold, is trained in
training/teachers/probed.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from transformers import FeatureExtractionMixin

from training.distillation.outputs import Output
from training.names import Registry
from training.teachers.audio_sources import Egemaps, Resemblyzer, SpeechEmbedding, Whisper
from training.teachers.cache import Recipe
from training.teachers.fer_net import FerFaces
from training.teachers.fetch import TeacherError
from training.teachers.hf_faces import HuggingFaceFaces
from training.teachers.hf_speech import HuggingFaceSpeech
from training.teachers.lexical import Nade, Vader
from training.teachers.text_encoder import FrozenText, MiniLm

HUGGING_FACE: Final = "hf:"


class Source(Protocol):
    """A frozen net, or a set of features."""

    reads: ClassVar[str]
    """The modality: `audio` are recordings [N] at 16 kHz, `video` grey faces uint8 [H, W], `text` are strings."""

    def key(self) -> Recipe:
        """Return what its features depend on, for the cache; raises TeacherError when its weights are missing."""
        ...

    def features(self, media: Sequence[Any], slots: int | None) -> Output:
        """Return "vector" [N, F], and sequences "h1", ... [N, slots, D] with masks where it has any.

        Args:
            media: of N samples, see `reads`.
            slots: steps of 100 ms that the task's sequences have; None: as many as are needed.
        """
        ...


class MakesSource(Protocol):
    """A class of sources: its modality is known before one is made. Its `probe` says how nets over it are trained,
    where that is not by the defaults of ProbeRecipe."""

    @property
    def reads(self) -> str:
        """See Source."""
        ...

    def __call__(self, weights: Path) -> Source:
        """Make one out of the folder of fetched weights; raises TeacherError when they are missing."""
        ...


_OWN: dict[str, MakesSource] = {
    "whisper": Whisper,
    "speech_embedding": SpeechEmbedding,
    "resemblyzer": Resemblyzer,
    "egemaps": Egemaps,
    "fer": FerFaces,
    "minilm": MiniLm,
    "vader": Vader,
    "nade": Nade,
}

TEACHERS: Registry[MakesSource] = Registry("teacher", "moodstream.teachers", _OWN)


def teachers_of(modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the sources that read one of these modalities."""
    return tuple(name for name in TEACHERS if TEACHERS[name].reads in modalities)


def make_source(name: str, weights: Path, modalities: Sequence[str]) -> Source:
    """Return a source by its name in TEACHERS, or `hf:NAME_OR_FOLDER`.

    Raises:
        TeacherError: its weights are missing, or an encoder reads what there isn't.
    """
    if name.startswith(HUGGING_FACE):
        return _hugging_face(name.removeprefix(HUGGING_FACE), modalities)
    return TEACHERS[name](weights)


def _hugging_face(name: str, modalities: Sequence[str]) -> Source:
    try:
        prepares: dict[str, Any] = FeatureExtractionMixin.get_feature_extractor_dict(name)[0]
        reads = "video" if "image_mean" in prepares or "image_processor_type" in prepares else "audio"
    except (OSError, ValueError) as error:  # What reads texts has a tokenizer instead.
        if "text" not in modalities:
            raise TeacherError(f"no Hugging Face encoder of {', '.join(modalities)} at {name!r}: {error}") from None
        reads = "text"
    if reads not in modalities:
        raise TeacherError(f"teacher hf:{name} reads {reads}, and the task has {', '.join(modalities)}")
    made: dict[str, Any] = {"audio": HuggingFaceSpeech, "video": HuggingFaceFaces, "text": FrozenText}
    source: Source = made[reads](name)
    return source
