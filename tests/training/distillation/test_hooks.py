"""Outputs of models that know nothing of this package: a torchvision-style net, and a BERT of transformers."""

import copy
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from training.distillation import METHODS, Batch, Distiller, Example, Hooked, observed

OWN_LOOP = Path(__file__).resolve().parents[3] / "docs/examples/own_loop.py"


class Block(nn.Module):
    """A residual block, as torchvision's."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 2, padding=1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Conv2d(inputs, outputs, 1, 2)

    def forward(self, x):
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + self.downsample(x))


class ResNet(nn.Module):
    """Images -> logits [B, 3], with the layer names of torchvision."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Sequential(Block(3, width)), nn.Sequential(Block(width, 2 * width))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.unused = nn.Identity()
        self.fc = nn.Linear(2 * width, 3)

    def forward(self, x):
        return self.fc(self.avgpool(self.layer2(self.layer1(x))).flatten(1))


def stripes(count: int, seed: int):
    """Images whose class is the direction of their stripes."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 3
    wave = torch.sin(torch.arange(16) * 1.5)
    patterns = torch.stack([wave.expand(16, 16), wave.expand(16, 16).T, torch.outer(wave, wave)])
    noise = 0.5 * torch.randn(count, 3, 16, 16, generator=generator)
    return patterns[classes].unsqueeze(1) + noise, classes, torch.arange(count)


def test_a_loop_that_is_not_ours_distils_between_models_that_are_not_ours():
    torch.manual_seed(0)
    teacher, student = ResNet(12), ResNet(4)
    images, classes, numbers = stripes(96, 0)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(teacher(images), classes).backward()
        optimizer.step()
    batches = [tuple(x[i : i + 32] for x in (images, classes, numbers)) for i in (0, 32, 64)] * 12
    losses = runpy.run_path(str(OWN_LOOP))["distil"](student, teacher, batches)
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    unseen, truth, _ = stripes(60, 1)
    assert (student.eval()(unseen).argmax(1) == truth).float().mean() > 0.8


@pytest.mark.parametrize("name", ["attention", "fitnet", "crd", "dkd"])
def test_every_term_reaches_the_layers_that_it_names(name):
    torch.manual_seed(0)
    images, classes, numbers = stripes(12, 0)
    student = ResNet(4)
    layers = {} if name == "dkd" else {"layers": [("layer1", "layer2")]}
    with torch.no_grad():
        theirs = {"t": observed(ResNet(6).eval(), ["layer2"], images)}
    ours = observed(student, ["layer1"], images)
    method = METHODS[name](**layers)
    method.build(ours, theirs)
    sum(term.mean() for term in method(ours, theirs, Batch(classes, index=numbers)).values()).backward()
    assert student.layer1[0].conv1.weight.grad.abs().sum() > 0
    assert (student.fc.weight.grad is None) == (name != "dkd")


def test_the_model_stays_as_it_was():
    net = ResNet(4)
    images = stripes(2, 0)[0]
    output = observed(net, {"early": "layer1", "vector": "avgpool"}, images)
    assert list(output.features) == ["early", "vector"]
    torch.testing.assert_close(output.features["early"], net.layer1(images))
    torch.testing.assert_close(output.logits, net(images))
    assert not any(module._forward_hooks for module in net.modules())
    student = Hooked(net, ["layer1"])
    other = copy.deepcopy(student)
    nn.init.zeros_(other.module.layer1[0].conv2.weight)
    assert not torch.equal(other(images).features["layer1"], student(images).features["layer1"])


def test_layers_that_are_not_there_or_do_not_run_are_named():
    with pytest.raises(ValueError, match=r"no layer 'layer3': did you mean 'layer\d'"):
        observed(ResNet(4), ["layer3"], stripes(2, 0)[0])
    with pytest.raises(ValueError, match="'unused' did not run"):
        observed(ResNet(4), ["unused"], stripes(2, 0)[0])


def bert(width: int, layers: int, seed: int) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "num_attention_heads": 2, "intermediate_size": 2 * width}
    return BertForSequenceClassification(BertConfig(vocab_size=50, num_hidden_layers=layers, num_labels=3, **sizes))


def test_a_bert_learns_from_a_larger_one_through_a_distiller():
    teacher, student = bert(32, 4, 0).eval(), bert(16, 2, 1)
    teacher.classifier.weight.data *= 50  # Nobody has trained it, and it shall have an opinion.
    generator = torch.Generator().manual_seed(0)
    inputs = {"input_ids": torch.randint(0, 50, (24, 9), generator=generator), "attention_mask": torch.ones(24, 9)}
    inputs["attention_mask"][::2, 5:] = 0
    with torch.no_grad():
        layers = {"inner": "bert.encoder.layer.2.intermediate", "late": "bert.encoder.layer.3"}
        theirs = observed(teacher, layers, mask=inputs["attention_mask"], **inputs)
    layers = {"inner": "bert.encoder.layer.1.intermediate", "late": "bert.encoder.layer.1"}
    methods = {
        "kd": METHODS["kd"](),
        "fitnet": METHODS["fitnet"](layers=[("late", "late")], weight=1.0),
        "attention": METHODS["attention"](layers=[("inner", "inner")]),
    }
    distiller = Distiller(Hooked(student, layers), methods, task_weight=0.0)
    assert theirs.logits is not None
    example = Example(inputs, Batch(theirs.logits.argmax(1), index=torch.arange(24)), {"large": theirs})
    distiller.build(example)
    first = distiller(example)
    assert set(first.terms) == {"kd/large", "fitnet/large", "attention/large"}
    assert torch.equal(distiller.student(inputs).masks["late"], inputs["attention_mask"])
    optimizer = torch.optim.AdamW(distiller.learnt_by_loss(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        distiller(example).scalar().backward()
        optimizer.step()
    last = distiller.eval()(example)
    for name in first.terms:
        assert last.terms[name].mean() < 0.9 * first.terms[name].mean(), name
