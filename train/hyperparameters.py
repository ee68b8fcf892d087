"""Everything that decides a run but the data and its teachers. No keras."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from service.config import build
from train.origin import TrainingError

ARCHITECTURES = ("compact", "deep", "teacher", "plain", "resnet50")
"""What train.model builds."""
LARGE = ("teacher", "resnet50")
"""Those that a GPU computes faster in bfloat16. The others gain nothing, and `deep` diverged (docs/model-log.md, l)."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often and how strongly a training face is changed.

    Twice as much cost a network of this size two points on validation and made it no sturdier (docs/model-log.md, f).
    """

    rotation_deg: float = 11.0
    scale: float = 0.11
    """Zoom by up to this share in or out."""
    shear: float = 0.09
    shift_px: float = 3.5
    strong_rotation: float = 0.04
    """Share of faces turned by up to 30 degrees instead."""
    small: float = 0.1
    """Share of faces shrunk to 14-40 px and enlarged again, as the device does with a distant face."""
    blur: float = 0.06
    """Share of faces with defocus or motion blur, half of them each."""
    contrast: float = 0.2
    """Contrast and gamma change by up to this share."""
    brightness: float = 20.0
    """Added to the pixels, up to this value either way."""
    noise: float = 0.06
    """Share of faces with sensor noise."""
    jpeg: float = 0.03
    """Share of faces compressed as by JPEG of quality 10-60."""
    erase: float = 0.12
    """Share of faces with a rectangle hidden. Source: random erasing, Zhong et al. 2017, arXiv:1708.04896."""


STRONG = Augmentation(
    rotation_deg=15.0, scale=0.15, shear=0.12, shift_px=5.0, strong_rotation=0.05, small=0.12, blur=0.08, contrast=0.25,
    brightness=25.0, noise=0.06, jpeg=0.06, erase=0.3,
)  # fmt: skip
"""For networks with room to spare, such as teachers."""


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Everything that decides a run but the data and its teachers; saved beside its checkpoint.

    The defaults are for learning from teachers; those of the shipped network (docs/model-log.md, n).
    """

    architecture: Annotated[str, Meta(pattern=f"^({'|'.join(ARCHITECTURES)})$")] = "deep"
    epochs: Annotated[int, Meta(ge=1, le=10_000)] = 170
    batch_size: Annotated[int, Meta(ge=2, le=4096)] = 256
    learning_rate: Annotated[float, Meta(ge=1e-6, le=10)] = 0.1
    """Peak of a cosine, see train.checkpoint.rate."""
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 5e-3
    """Decoupled, on kernels only."""
    label_smoothing: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    label_share: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Weight of the labels against teachers' probabilities, where there are any. Source: Hinton et al. 2015,
    arXiv:1503.02531."""
    mix: Annotated[float, Meta(ge=0, le=1)] = 0.25
    """Share of batches in which each face is mixed with another. Source: Zhang et al. 2017, arXiv:1710.09412."""
    dropout: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    average: Annotated[float, Meta(ge=0, le=0.99999)] = 0.998
    """Momentum of the exponential moving average of the weights, which is what is evaluated and kept."""
    votes_weight: Annotated[float, Meta(ge=0, le=100)] = 0.3
    """Weight of the auxiliary loss on FER+ votes, where a file of them is given."""
    balance: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """How far rare labels are drawn more often: 0 as they are, 1 all labels alike."""
    evaluate_every: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Epochs from one evaluation and checkpoint to the next, which on a GPU take longer than an epoch."""
    bfloat16: bool = False
    """Convolutions in bfloat16, weights in float32: of large networks on GPUs, of all on CPUs with AVX512-BF16, where
    TensorFlow is 1.1-1.3 times as fast."""
    seed: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)


TEACHER: Mapping[str, Any] = {
    "epochs": 60, "label_smoothing": 0.1, "mix": 0.5, "dropout": 0.3, "weight_decay": 1e-2,
    "augmentation": dataclasses.asdict(STRONG),
}  # fmt: skip
"""What a network that learns from labels alone, and has room to spare, has instead of the defaults."""


def assignments(given: list[str]) -> dict[str, Any]:
    """What --set gave: KEY=VALUE as TOML."""
    try:
        return tomllib.loads("\n".join(given))
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"--set {' '.join(given)}: {error}; write key=value, texts in quotes") from error


def hyperparameters(given: Mapping[str, Any]) -> Hyperparameters:
    """Those given; the others by default, which is another one for a teacher.

    Raises:
        ConfigError: If a key is unknown or a value out of its range.
    """
    defaults = dict(TEACHER) if given.get("architecture") == "teacher" else {}
    augmentation = {**defaults.get("augmentation", {}), **given.get("augmentation", {})}
    return build(defaults | dict(given) | ({"augmentation": augmentation} if augmentation else {}), Hyperparameters)
