import json
from dataclasses import asdict, dataclass, field

import pytest

from training.distillation import STEPS
from training.distillation.catalogue import catalogue, field_docstrings, parameters_of, spell
from training.distillation.methods import METHODS
from training.distillation.methods.crd import CRDConfig
from training.distillation.weighers import WEIGHERS

SURVEYED = {
    "A": {"kd", "dkd", "dist", "logit_std", "score"},
    "B": {"fitnet", "attention", "nst", "vid", "crd"},
    "C": {"rkd", "sp", "cc", "pkt"},
    "D": {"ekd", "entropy", "confidence", "attention_select", "meta", "meta_teacher", "reweight"},
    "E": {"cmd", "graph", "dmd", "hypergraph", "gravitation", "missing", "causal"},
}


@pytest.mark.parametrize("family", SURVEYED)
def test_the_surveyed_methods_are_there(family):
    assert {entry.name for entry in catalogue() if entry.family == family} >= SURVEYED[family]


def test_everything_registered_is_listed_by_family():
    entries = catalogue()
    for kind, registry in (("method", METHODS), ("weigher", WEIGHERS), ("step", STEPS)):
        assert {entry.name for entry in entries if entry.kind == kind} == set(registry)
    assert [entry.family for entry in entries] == sorted(entry.family for entry in entries)


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_entries_are_complete(entry):
    assert entry.summary.endswith(".")
    assert entry.paper
    assert entry.equation
    assert all(parameter.meaning.endswith(".") and parameter.type for parameter in entry.parameters)
    assert list(entry.needs) == sorted(entry.needs)


def test_entries_are_fit_for_json():
    listed = json.loads(json.dumps([asdict(entry) for entry in catalogue()]))
    kd = next(entry for entry in listed if entry["name"] == "kd")
    assert kd["needs"] == ["logits"]
    assert kd["parameters"][0] == {
        "name": "temperature",
        "type": "float",
        "default": 4.0,
        "meaning": "T: above 1, the wrong classes' likeness counts more.",
    }


def test_parameters_of_a_config():
    parameters = {parameter.name: parameter for parameter in parameters_of(CRDConfig)}
    assert parameters["form"].type == "nce | infonce"
    assert parameters["layers"].type == "tuple[tuple[str, str], ...]"
    assert parameters["queue"].default == CRDConfig().queue


@dataclass
class Parent:
    first: int = 1
    """From the
    parent."""


@dataclass
class Child(Parent):
    """Not a field."""

    second: float | None = None
    """Its own."""
    third: list[str] = field(default_factory=lambda: ["a"])
    "In plain quotes."


def test_docstrings_come_from_bases_too_on_one_line():
    assert field_docstrings(Child) == {"first": "From the parent.", "second": "Its own.", "third": "In plain quotes."}


def test_types_and_made_defaults():
    first, second, third = parameters_of(Child)
    assert (first.type, second.type, third.type) == ("int", "float | none", "list[str]")
    assert third.default == ["a"]
    assert spell(bool) == "bool"


def test_incomplete_configs_are_refused():
    @dataclass
    class Silent:
        value: int = 1

    @dataclass
    class Demanding:
        value: int
        """A value."""

    with pytest.raises(ValueError, match=r"Silent\.value has no docstring under it"):
        parameters_of(Silent)
    with pytest.raises(ValueError, match=r"Demanding\.value has no default"):
        parameters_of(Demanding)
