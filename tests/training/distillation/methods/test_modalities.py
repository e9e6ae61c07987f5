import math

import pytest
import torch

from training.distillation.methods.modalities import (
    fused_layer,
    modalities_of,
    representation,
    require_modalities,
    rows_with,
)
from training.distillation.outputs import Output

PRESENT = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])


def output(draw, **features):
    return Output(features={name: draw(*shape) for name, shape in features.items()}, present=PRESENT)


def test_modalities_are_found_in_their_order(draw):
    several = output(draw, penultimate=(3, 5), text=(3, 4), audio=(3, 2))
    assert modalities_of(several) == require_modalities("dmd", "the student", several) == ("audio", "text")
    assert fused_layer(several) == "penultimate"
    alone = output(draw, h1=(3, 5), h2=(3, 4))
    assert modalities_of(alone) == ()
    assert fused_layer(alone) == "h2"
    assert fused_layer(Output()) is None
    with pytest.raises(ValueError, match=r"dmd needs a feature of at least one modality .*the student gives h1, h2"):
        require_modalities("dmd", "the student", alone)


def test_rows_are_those_of_the_modality_or_of_any(draw):
    several = output(draw, penultimate=(3, 5), text=(3, 4), audio=(3, 2))
    assert rows_with(several, "audio").tolist() == [True, False, False]
    assert rows_with(several, "penultimate").tolist() == [True, True, False]
    several.present = None
    assert rows_with(several, "audio").tolist() == [True, True, True]


def test_what_is_not_there_is_zero_whatever_stands_there(draw):
    several = output(draw, audio=(3, 4, 2))
    several.features["audio"][1:] = math.nan
    several.features["audio"][0, 2:] = math.nan
    several.masks["audio"] = torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 3)
    vectors = representation(several, "audio")
    torch.testing.assert_close(vectors[0], several.features["audio"][0, :2].mean(0))
    assert vectors[1:].eq(0).all()
