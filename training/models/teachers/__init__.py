"""Models of conversations in several modalities that teach.

All read the same inputs (`utterances.Utterances.of`) and give the same features (`layers.Answer`). The hypergraph
network stands in `hypergraph_net` alone, as it takes a while to import.
"""

from training.models.teachers.bc_lstm import BcLstm
from training.models.teachers.cores import BottleneckFusion, GatedFusion
from training.models.teachers.dmd_net import DmdNet
from training.models.teachers.mult import MulT

__all__ = ["BcLstm", "BottleneckFusion", "DmdNet", "GatedFusion", "MulT"]
