import pytest
import torch

from training.distillation.methods.fitnet import FitNet, fitnet
from training.distillation.outputs import Batch, Output


def test_value_by_loops(draw):
    adapted, teacher, mask = draw(3, 4, 5), draw(3, 4, 5), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0]])
    expected = []
    for b in range(3):
        steps = [n for n in range(4) if mask[b, n]]
        squares = [(adapted[b, n, d] - teacher[b, n, d]).item() ** 2 for n in steps for d in range(5)]
        expected.append(sum(squares) / max(len(squares), 1))
    torch.testing.assert_close(fitnet(adapted, teacher, mask), torch.tensor(expected, dtype=torch.float64))


def test_without_masks_the_mean_is_that_of_mse_loss(draw):
    adapted, teacher = draw(3, 4, 5), draw(3, 4, 5)
    mean = fitnet(adapted, teacher, torch.ones(3, 4)).mean()
    torch.testing.assert_close(mean, torch.nn.functional.mse_loss(adapted, teacher))


def test_equal_features_of_one_width_give_zero_and_no_gradient(draw):
    feature = draw(3, 4, 5)
    student = Output(features={"h": feature.clone().requires_grad_()})
    teacher = Output(features={"h": feature})
    method = FitNet()
    method.build(student, {"t": teacher})
    term = method.loss(student, {"t": teacher}, Batch())["fitnet/t"]
    term.sum().backward()
    assert term.eq(0).all()
    assert student.features["h"].grad.eq(0).all()
    assert all(p.grad.eq(0).all() for p in method.parameters())


def test_every_pair_has_its_regressor_and_pairs_add_up(world):
    student, teachers, batch = world()
    method = FitNet(layers=[["h1", "large:h2"], ["h2", "h2"]], weight=2.0)
    method.build(student, teachers)
    assert {tuple(p.shape) for p in method.parameters() if p.ndim == 2} == {(8, 6), (5, 6)}
    assert len(list(method.parameters())) == 6
    both = method.loss(student, teachers, batch)["fitnet/large"]
    single = [("h1", "h2"), ("h2", "h2")]
    parts = []
    for pair in single:
        alone = FitNet(layers=(pair,), weight=2.0)
        alone.build(student, {"large": teachers["large"]})
        alone.load_state_dict({k: v for k, v in method.state_dict().items() if f"large:{pair[0]}-" in k})
        parts.append(alone.loss(student, {"large": teachers["large"]}, batch)["fitnet/large"])
    torch.testing.assert_close(both, sum(parts))


def test_names_with_dots_have_parameters_too(draw):
    student, teacher = Output(features={"block.1": draw(2, 3, 4)}), Output(features={"h": draw(2, 3, 5)})
    method = FitNet()
    method.build(student, {"whisper-tiny.en": teacher})
    assert method.loss(student, {"whisper-tiny.en": teacher}, Batch())["fitnet/whisper-tiny.en"].shape == (2,)


def test_unbuilt_or_other_models_are_refused(draw, world):
    student, teachers, batch = world()
    with pytest.raises(ValueError, match=r"fitnet: call build\(student, teachers\) once"):
        FitNet().loss(student, teachers, batch)
    method = FitNet()
    method.build(student, {"large": teachers["large"]})
    with pytest.raises(ValueError, match="built without student 'h1' and 'h1' of teacher 'small'"):
        method.loss(student, teachers, batch)
    student.features["h1"] = draw(6, 4, 9)
    with pytest.raises(ValueError, match=r"with widths \(6, 8\), and now they are \(9, 8\)"):
        method.loss(student, {"large": teachers["large"]}, batch)
