"""What multimodal models read of a batch: the utterances of conversations, by modality, as far as they are present."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.models.conversation import Turns


def ordered(widths: Mapping[str, int]) -> dict[str, int]:
    """Return the modalities' widths in the order of MODALITIES; raises ValueError for none, or an unknown one."""
    unknown = [name for name in widths if name not in MODALITIES]
    if unknown or not widths:
        raise ValueError(
            f"a multimodal model needs the width of at least one of {', '.join(MODALITIES)}, and was given "
            f"{dict(widths)}"
        )
    return {name: widths[name] for name in MODALITIES if name in widths}


@dataclass(frozen=True)
class Utterances:
    """B utterances of V conversations of at most T turns."""

    x: dict[str, Tensor]
    """Modality -> [B, D] of its own width, zeros where absent."""
    there: dict[str, Tensor]
    """Modality -> [B, 1], 1 where present."""
    present: Tensor
    """[B, 3], 1 where the utterance has audio, video, text that the model reads."""
    turns: Turns

    @classmethod
    def of(cls, inputs: Mapping[str, Tensor], widths: Mapping[str, int]) -> "Utterances":
        """Read a model's inputs.

        Args:
            inputs: a modality's name -> [B, D]; `present` [B, 3]; `conversation` int64 [B], in time order.
            widths: D of the modalities that the model reads.

        Raises:
            ValueError: an input is missing or has another width.
        """
        for name in (*widths, "present", "conversation"):
            if name not in inputs:
                raise ValueError(
                    f"the inputs {', '.join(inputs)} lack {name!r}, which a model of {_listed(widths)} reads"
                )
        present, x, there = torch.zeros_like(inputs["present"], dtype=torch.float32), {}, {}
        for name, width in widths.items():
            if inputs[name].shape[1:] != (width,):
                raise ValueError(f"{name!r} has shape {list(inputs[name].shape)}, the model reads [B, {width}]")
            column = MODALITIES.index(name)
            present[:, column] = inputs["present"][:, column]
            there[name] = (present[:, column : column + 1] > 0).float()
            x[name] = torch.where(there[name] > 0, inputs[name].float(), 0.0)
        return cls(x, there, present, Turns.of(inputs["conversation"]))


def _listed(widths: Mapping[str, int]) -> str:
    return " and ".join(widths)
