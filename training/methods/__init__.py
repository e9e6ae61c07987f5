"""Distillation methods: each one small file with its paper and its equation (see METHODS below)."""

from training.methods.attention import Attention
from training.methods.base import Method
from training.methods.causal import Causal
from training.methods.cc import CC
from training.methods.cmd import CMD
from training.methods.crd import CRD
from training.methods.dist import DIST
from training.methods.dkd import DKD
from training.methods.dmd import DMD
from training.methods.ekd import EKD
from training.methods.fitnet import FitNet
from training.methods.graph import Graph
from training.methods.gravitation import Gravitation
from training.methods.hypergraph import Hypergraph
from training.methods.kd import KD
from training.methods.logit_std import LogitStd
from training.methods.missing import Missing
from training.methods.nst import NST
from training.methods.pkt import PKT
from training.methods.rkd import RKD
from training.methods.score import Score
from training.methods.sp import SP
from training.methods.vid import VID

METHODS: dict[str, type[Method]] = {
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
    # D: several teachers at once; their weights are in training.weighers
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
