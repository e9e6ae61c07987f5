"""Models of conversations in several modalities: large ones that teach, and small ones that learn.

All read the same inputs (`utterances.Utterances.of`) and give the same features (`layers.Answer`). The hypergraph
network stands in `hypergraph_net` alone, as it takes a while to import.
"""

from training.models.multimodal.bc_lstm import BcLstm
from training.models.multimodal.cores import BottleneckFusion, GatedFusion
from training.models.multimodal.dmd_net import DmdNet
from training.models.multimodal.mult import MulT
from training.models.multimodal.served import ServedFusion
from training.models.multimodal.student import ConversationStudent

__all__ = ["BcLstm", "BottleneckFusion", "ConversationStudent", "DmdNet", "GatedFusion", "MulT", "ServedFusion"]
