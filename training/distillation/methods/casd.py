"""After Luo et al., *Confidence-Aware Self-Distillation for Multimodal Sentiment Analysis with Incomplete Modalities*,
arXiv 2506.01490, 2025 (CASD; the abstract: a mixture of Student's t distributions of multimodal embeddings, with
uncertainty scores, and consistency between the complete view and the incomplete one; the equations are ours).

    L_i = - a / D log sum over m of c_im t_v(h_t,i; mu_m(h_im), sigma_m(h_im))  +  C_i T^2 KL(p_t,i || p_s,i)
    c_im = u_im / sum_n u_in,    u_im = exp(- mean over channels of log sigma_m(h_im)),    C_i = sureness of p_t,i

h_t: the teacher's fused representation of the complete sample, D channels; h_m: the student's representation of
modality m, among those that the sample has, or its fused one where it has no streams; mu_m, sigma_m: learned linear
maps; t_v: product over channels of Student's t with v degrees of freedom. Heavy tails keep a modality that says
something else from being drawn without end, and a modality that knows little of h_t has a large sigma and so little
confidence c. C_i = 1 - H / log C: an unsure teacher counts less. The first part has no floor at zero.

Self-distillation: the teacher is then the same net, trained with all its modalities; nothing here depends on that. The
paper also draws its task's representation from the joint
distribution, which is a student's business, and its code was not at hand.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.distillation.methods import checks
from training.distillation.methods.adapted import placed
from training.distillation.methods.base import Method, Terms
from training.distillation.methods.modalities import fused_layer, fused_pairs, modalities_of, representation, rows_with
from training.distillation.methods.numerics import kl
from training.distillation.methods.responses import logit_pairs
from training.distillation.methods.streams import sureness
from training.distillation.outputs import Batch, Output

LEAST_SCALE = 1e-3
"""sigma is never below it."""


def log_t(x: Tensor, mean: Tensor, scale: Tensor, freedom: float) -> Tensor:
    """Return the log density [...] of x [..., D] under independent Student's t of each channel."""
    constant = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    tails = (freedom + 1) / 2 * torch.log1p(((x - mean) / scale).square() / freedom)
    return (constant - scale.log() - tails).sum(-1)


def mixture_surprise(x: Tensor, mean: Tensor, scale: Tensor, present: Tensor, freedom: float) -> tuple[Tensor, Tensor]:
    """Return -log sum_m c_m t(x) [B], 0 where no m is present, and the confidences c [B, M].

    Args:
        x: [B, D].
        mean, scale: [B, M, D].
        present: bool [B, M].
        freedom: v.
    """
    u = (-scale.log().mean(-1)).masked_fill(~present, -1e9)
    joint = u.log_softmax(1) + log_t(x.unsqueeze(1), mean, scale, freedom)
    surprise = -torch.logsumexp(joint.masked_fill(~present, -1e9), dim=1)
    return torch.where(present.any(1), surprise, 0.0), torch.where(present, u.softmax(1), 0.0)


class Embedding(nn.Module):
    """mu and sigma of one modality."""

    def __init__(self, ours: int, theirs: int) -> None:
        super().__init__()
        self.mean, self.scale = nn.Linear(ours, theirs), nn.Linear(ours, theirs)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and sigma, [B, D] each, of [B, D_m]."""
        return self.mean(feature), functional.softplus(self.scale(feature)) + LEAST_SCALE


@dataclass(frozen=True)
class CASDConfig:
    """Hyper-parameters of `casd`."""

    embedding: float = 1.0
    """a, factor of the mixture's part."""
    response: float = 1.0
    """Factor of the answers' part."""
    freedom: float = 4.0
    """v: the smaller, the less a modality is drawn that says something else; large: a gaussian."""
    temperature: float = 4.0
    """T of the answers."""

    def __post_init__(self) -> None:
        for field in ("embedding", "response"):
            checks.number(self, field, least=0)
        for field in ("freedom", "temperature"):
            checks.number(self, field, above=0)


class CASD(Method):
    """What the complete sample looks like, as a mixture over the modalities left, each as sure as it may be."""

    name = "casd"
    family = "E"
    paper = "after Luo et al., Confidence-Aware Self-Distillation for MSA with Incomplete Modalities, arXiv, 2025"
    equation = "-a / D log sum_m c_m t_v(h_t; mu_m(h_m), sigma_m(h_m)) + (1 - H(p_t) / log C) T^2 KL(p_t || p_s)"
    needs = frozenset({"logits", "features"})
    scaled = ("embedding", "response")
    Config = CASDConfig
    config: CASDConfig

    def __init__(self, **hyperparameters: object) -> None:
        super().__init__(**hyperparameters)
        self.embeddings = nn.ModuleDict()
        self._confidences: dict[str, Tensor] = {}

    def edge_weights(self) -> dict[str, Tensor]:
        """Return c of the last call, `modality>teacher` -> [B]."""
        return self._confidences

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create mu and sigma for every modality and teacher; raises ValueError for outputs without features."""
        fused_pairs(self.name, student, teachers)
        for name, teacher in teachers.items():
            theirs = self._whole(teacher)
            for layer in _streams(student):
                embedding = Embedding(representation(student, layer).shape[1], theirs.shape[1])
                self.embeddings[_key(name, layer)] = placed(embedding, theirs)

    def loss(self, student: Output, teachers: Mapping[str, Output], batch: Batch) -> Terms:
        """Return `casd_embedding/teacher` and `casd_response/teacher` for every teacher."""
        fused_pairs(self.name, student, teachers)
        if not self.embeddings:
            raise ValueError(f"{self.name}: call build(student, teachers) once, before the optimiser is made")
        streams, terms = _streams(student), Terms()
        present = torch.stack([rows_with(student, layer) for layer in streams], dim=1)
        self._confidences = {}
        for name, z_s, z_t in logit_pairs(self.name, student, teachers):
            made = [self.embeddings[_key(name, layer)](representation(student, layer)) for layer in streams]
            mean, scale = (torch.stack(part, dim=1) for part in zip(*made, strict=True))
            whole = self._whole(teachers[name])
            surprise, confidence = mixture_surprise(whole, mean, scale, present, self.config.freedom)
            self._confidences |= {f"{m}>{name}": confidence[:, k].detach() for k, m in enumerate(streams)}
            terms[f"casd_embedding/{name}"] = self.config.embedding / whole.shape[1] * surprise
            softened = self.config.temperature**2 * kl(z_t / self.config.temperature, z_s / self.config.temperature)
            terms[f"casd_response/{name}"] = self.config.response * sureness(z_t) * softened
        return terms

    def _whole(self, teacher: Output) -> Tensor:
        return representation(teacher, str(fused_layer(teacher)))


def _streams(student: Output) -> tuple[str, ...]:
    """The student's modalities, or its fused feature where it has none."""
    return modalities_of(student) or (str(fused_layer(student)),)


def _key(teacher: str, layer: str) -> str:
    """A ModuleDict takes no dots."""
    return f"{teacher}:{layer}".replace(".", "%2E")
