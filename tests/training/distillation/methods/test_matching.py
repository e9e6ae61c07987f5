import pytest
import torch

from training.distillation.methods.matching import layer_terms, masked_mean, pairs_of, pooled
from training.distillation.outputs import Output


def pair(student, teacher, masks=(None, None)):
    sides = [
        Output(features={"h": feature}, masks={} if mask is None else {"h": mask})
        for feature, mask in zip((student, teacher), masks, strict=True)
    ]
    return pairs_of("kd", (), sides[0], {"t": sides[1]})["t"][0]


def test_the_last_feature_is_the_default(world):
    student, teachers, _ = world()
    pairs = pairs_of("sp", (), student, teachers)
    assert {name: [p.layers for p in of] for name, of in pairs.items()} == {
        "large": [("h2", "h2")],
        "small": [("h2", "h2")],
    }


def test_a_layer_may_belong_to_one_teacher(world):
    student, teachers, _ = world()
    pairs = pairs_of("sp", (("h1", "large:h2"), ("h2", "h1"), ("h2", "small:h2")), student, teachers)
    assert [p.layers for p in pairs["large"]] == [("h1", "h2"), ("h2", "h1")]
    assert [p.layers for p in pairs["small"]] == [("h2", "h1"), ("h2", "h2")]


def test_wrong_pairs_are_refused(draw, world):
    student, teachers, _ = world()
    with pytest.raises(ValueError, match="sp: layers name the teacher 'huge', the teachers are large, small"):
        pairs_of("sp", (("h1", "huge:h1"),), student, teachers)
    with pytest.raises(ValueError, match=r"no pair for teacher 'small'; add \(student layer, 'small:layer'\)"):
        pairs_of("sp", (("h1", "large:h1"),), student, teachers)
    with pytest.raises(ValueError, match="sp: the student has no feature 'h9': it has h1, h2"):
        pairs_of("sp", (("h9", "h1"),), student, teachers)
    with pytest.raises(ValueError, match="at least one teacher"):
        pairs_of("sp", (), student, {})
    with pytest.raises(ValueError, match="batch has 3 samples, that of teacher 't' 2"):
        pair(draw(3, 4), draw(2, 4))
    with pytest.raises(ValueError, match=r"'h' of teacher 't' is \(3,\); it must be a vector \[B, D\], sequence"):
        pair(draw(3, 4), draw(3))
    with pytest.raises(ValueError, match=r"mask of 'h' of the student is \(3, 4\), its feature \(3, 5, 2\)"):
        pair(draw(3, 5, 2), draw(3, 5, 2), (torch.ones(3, 4), None))


def test_sequences_shrink_to_the_shorter_as_adaptive_pooling_does(draw):
    long, short = draw(2, 7, 3), draw(2, 4, 5)
    s, t, mask = pair(long, short).grids()
    expected = torch.nn.functional.adaptive_avg_pool1d(long.transpose(1, 2), 4).transpose(1, 2)
    torch.testing.assert_close(s, expected)
    assert torch.equal(t, short)
    assert mask.eq(1).all()


def test_masked_steps_do_not_count_in_an_average(draw):
    """Six steps to two bins of three: the first has steps 0 and 2, the second none."""
    long, short = draw(1, 6, 3), draw(1, 2, 5)
    s, t, mask = pair(long, short, (torch.tensor([[1, 0, 1, 0, 0, 0]]), None)).grids()
    torch.testing.assert_close(s[0, 0], (long[0, 0] + long[0, 2]) / 2)
    assert mask.tolist() == [[1.0, 0.0]]
    assert s[0, 1].eq(0).all()
    assert t[0, 1].eq(0).all()


def test_a_position_is_there_when_both_sides_have_it(draw):
    masks = (torch.tensor([[1, 1, 0]]), torch.tensor([[0, 1, 1]]))
    assert pair(draw(1, 3, 2), draw(1, 3, 2), masks).grids()[2].tolist() == [[0.0, 1.0, 0.0]]


def test_maps_shrink_to_the_smaller_on_each_axis(draw):
    student, teacher = draw(2, 3, 7, 4), draw(2, 5, 4, 6)
    s, t, mask = pair(student, teacher).grids()
    for got, feature in ((s, student), (t, teacher)):
        expected = torch.nn.functional.adaptive_avg_pool2d(feature, (4, 4)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(got, expected)
    assert mask.shape == (2, 16)


def test_other_forms_meet_as_means(draw):
    sequence, image, vector = draw(2, 5, 3), draw(2, 4, 2, 2), draw(2, 6)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    s, t, there = pair(sequence, image, (mask, None)).grids()
    torch.testing.assert_close(s[0, 0], sequence[0, :2].mean(0))
    torch.testing.assert_close(t[:, 0], image.mean((2, 3)))
    assert there.tolist() == [[1.0], [1.0]]
    assert pair(vector, image).grids()[0].shape == (2, 1, 6)


def test_widths_and_key():
    p = pair(torch.zeros(1, 2, 3), torch.zeros(1, 5, 6, 6))
    assert p.widths == (3, 5)
    assert p.key == "t:h-h"


def test_means_of_nothing_are_zero(draw):
    x = draw(2, 3, 4)
    mask = torch.tensor([[0, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(pooled(x, mask), torch.stack([torch.zeros(4, dtype=x.dtype), x[1, 1]]))
    torch.testing.assert_close(masked_mean(x[..., 0], mask), torch.stack([x.new_zeros(()), x[1, 1, 0]]))


def test_terms_are_summed_over_pairs_and_named(world):
    student, teachers, _ = world()
    terms = layer_terms(
        "x", (("h1", "h1"), ("h2", "h2")), student, teachers, lambda p: p.features[0].sum((1, 2)), part="y"
    )
    assert list(terms) == ["x_y/large", "x_y/small"]
    expected = student.features["h1"].sum((1, 2)) + student.features["h2"].sum((1, 2))
    torch.testing.assert_close(terms["x_y/small"], expected)
