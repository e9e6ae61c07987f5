"""Runs pieces through the encoders and windows through fusion, batched over all sessions. It knows no session."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_exponential

from contract.models import AUDIO_ENCODER, FUSION, TEXT_ENCODER, TOKENIZER, VIDEO_ENCODER
from server.inference.batcher import Batcher
from server.inference.engine import Engine, ModelUnavailableError
from server.inference.tokenizer import Tokenizer
from server.session.fusion_input import Encoded
from server.session.pieces import AudioHop, Face, Fused, Piece

CALL_TIMEOUT_S = 5.0
OnUnavailable = Callable[[ModelUnavailableError], None]


class Encoders:
    """One batcher a model. Items of all sessions that wait at the same time go out in one request."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        specs = [AUDIO_ENCODER, VIDEO_ENCODER, TEXT_ENCODER, FUSION, *([] if tokenizer else [TOKENIZER])]
        self._batchers = {
            spec.name: Batcher(engine, spec.name, spec.max_batch_size, timeout_s=CALL_TIMEOUT_S) for spec in specs
        }

    async def encode(self, piece: Piece, patience_s: float, on_unavailable: OnUnavailable) -> Encoded:
        """Encode one piece; while its model is away, try again for `patience_s`.

        Raises:
            ModelUnavailableError: the model did not come back in time.
            EngineError: the model failed on this piece.
        """
        if isinstance(piece, AudioHop):
            return _encoded(await self._run(AUDIO_ENCODER.name, {"PCM": piece.pcm}, patience_s, on_unavailable))
        if isinstance(piece, Face):
            return _encoded(await self._run(VIDEO_ENCODER.name, {"FACE": piece.crop}, patience_s, on_unavailable))
        ids, attention = await self._tokens(piece.text, patience_s, on_unavailable)
        inputs = {"INPUT_IDS": ids, "ATTENTION_MASK": attention}
        outputs = await self._run(TEXT_ENCODER.name, inputs, patience_s, on_unavailable)
        return _encoded(outputs, mask=attention.astype(np.float32))

    async def fuse(
        self, tensors: dict[str, NDArray[np.float32]], patience_s: float, on_unavailable: OnUnavailable
    ) -> Fused:
        """Fuse one result, given the inputs of `fusion` without the batch; raises as `encode` does."""
        outputs = await self._run(FUSION.name, tensors, patience_s, on_unavailable)
        return Fused(outputs["POLARITY"], outputs["EMOTION"], outputs["CONTRIBUTION"])

    async def close(self) -> None:
        """Cancel what is waiting."""
        for batcher in self._batchers.values():
            await batcher.close()

    async def _tokens(
        self, text: str, patience_s: float, on_unavailable: OnUnavailable
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._tokenizer is not None:
            tokens = {name: batch[0] for name, batch in self._tokenizer.encode([text]).items()}
        else:
            inputs = {"TEXT": np.array([text.encode()], dtype=np.object_)}
            tokens = await self._run(TOKENIZER.name, inputs, patience_s, on_unavailable)
        return tokens["INPUT_IDS"], tokens["ATTENTION_MASK"]

    async def _run(
        self, model: str, inputs: dict[str, NDArray[Any]], patience_s: float, on_unavailable: OnUnavailable
    ) -> dict[str, NDArray[Any]]:
        def report(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, ModelUnavailableError):
                on_unavailable(error)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ModelUnavailableError),
            wait=wait_exponential(multiplier=0.05, max=0.5),
            stop=stop_after_delay(patience_s),
            after=report,
            reraise=True,
        )
        outputs: dict[str, NDArray[Any]] = await retrying(self._batchers[model].run, inputs)
        return outputs


def _encoded(outputs: dict[str, NDArray[Any]], mask: NDArray[np.float32] | None = None) -> Encoded:
    # Copies: a row of a batch would keep the whole batch for as long as the session keeps the piece.
    return Encoded(outputs["EMBEDDING"].copy(), outputs["EMOTION"].copy(), float(outputs["SENTIMENT"][0]), mask)
