"""Distillation methods: each one small file with its paper and its equation.

`METHODS` has those of installed packages besides, by their entry points `moodstream.methods` (training/names.py).
"""

from training.distillation.methods.attention import Attention
from training.distillation.methods.base import Method
from training.distillation.methods.causal import Causal
from training.distillation.methods.cc import CC
from training.distillation.methods.cmd import CMD
from training.distillation.methods.crd import CRD
from training.distillation.methods.dist import DIST
from training.distillation.methods.dkd import DKD
from training.distillation.methods.dmd import DMD
from training.distillation.methods.ekd import EKD
from training.distillation.methods.fitnet import FitNet
from training.distillation.methods.graph import Graph
from training.distillation.methods.gravitation import Gravitation
from training.distillation.methods.hypergraph import Hypergraph
from training.distillation.methods.kd import KD
from training.distillation.methods.logit_std import LogitStd
from training.distillation.methods.missing import Missing
from training.distillation.methods.nst import NST
from training.distillation.methods.pkt import PKT
from training.distillation.methods.rkd import RKD
from training.distillation.methods.score import Score
from training.distillation.methods.sp import SP
from training.distillation.methods.vid import VID
from training.names import Registry

_OWN: dict[str, type[Method]] = {
    # A: responses
    "kd": KD,
    "dkd": DKD,
    "dist": DIST,
    "logit_std": LogitStd,
    "score": Score,
    # B: features
    "fitnet": FitNet,
    "attention": Attention,
    "nst": NST,
    "vid": VID,
    "crd": CRD,
    # C: relations over a batch
    "rkd": RKD,
    "sp": SP,
    "cc": CC,
    "pkt": PKT,
    # D: several teachers at once; their weights are in training.distillation.weighers
    "ekd": EKD,
    # E: across modalities
    "cmd": CMD,
    "graph": Graph,
    "dmd": DMD,
    "hypergraph": Hypergraph,
    "gravitation": Gravitation,
    "missing": Missing,
    "causal": Causal,
}

METHODS: Registry[type[Method]] = Registry("method", "moodstream.methods", _OWN)

__all__ = ["METHODS", "Method"]
