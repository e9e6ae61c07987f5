"""A small batch of conversations, and every multimodal model in small."""

import torch

from contract.labels import MODALITIES
from training.models.students.multimodal import ConversationStudent
from training.models.teachers import BcLstm, BottleneckFusion, DmdNet, GatedFusion, MulT
from training.models.teachers.hypergraph_net import HypergraphNet

WIDTHS = {"audio": 5, "video": 4, "text": 6}
VALUES = (-1.0, 0.0, 1.0)
MODELS = {
    "bc_lstm": lambda widths: BcLstm(widths, VALUES, width=8),
    "bc_lstm causal": lambda widths: BcLstm(widths, VALUES, width=8, causal=True),
    "mult": lambda widths: MulT(widths, VALUES, width=8, heads=2),
    "hypergraph": lambda widths: HypergraphNet(widths, VALUES, width=8),
    "dmd": lambda widths: DmdNet(widths, VALUES, width=8),
    "gated": lambda widths: ConversationStudent(GatedFusion, widths, VALUES, width=8),
    "gated causal": lambda widths: ConversationStudent(GatedFusion, widths, VALUES, lookahead=0, width=8),
    "gated lookahead": lambda widths: ConversationStudent(GatedFusion, widths, VALUES, lookahead=2, width=8),
    "bottleneck": lambda widths: ConversationStudent(BottleneckFusion, widths, VALUES, width=8),
    "bottleneck lookahead": lambda widths: ConversationStudent(BottleneckFusion, widths, VALUES, lookahead=2, width=8),
}
CONVERSATION = (3, 3, 3, 3, 3, 1, 8, 8)


def inputs_of(widths=WIDTHS, present=None, conversation=CONVERSATION, seed=0):
    rng = torch.Generator().manual_seed(seed)
    count = len(conversation)
    whole = torch.tensor([float(name in widths) for name in MODALITIES]).expand(count, 3)
    return {name: torch.randn(count, width, generator=rng) for name, width in widths.items()} | {
        "present": whole.clone() if present is None else whole * present,
        "conversation": torch.tensor(conversation),
    }


def scattered():
    """Presence with every kind of gap: an utterance with nothing, one with everything."""
    present = (torch.rand(len(CONVERSATION), 3, generator=torch.Generator().manual_seed(1)) < 0.6).float()
    present[1], present[2] = 0.0, 1.0
    return present
