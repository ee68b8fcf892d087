"""The model cards of a folder. Without its card a model's windows give raw counts only."""

import logging
from pathlib import Path

from aggregator.analysis.mix import Estimator
from aggregator.config import AggregatorConfig
from contract.card import ModelCard, ModelCardError
from contract.card import read as read_card

log = logging.getLogger(__name__)


def estimator_of(config: AggregatorConfig) -> Estimator:
    """With the cards that are here, the site's groups, and the noise of its devices."""
    return Estimator(read_cards(config.models_dir), config.groups, config.summary.epsilon)


def read_cards(folder: Path) -> dict[str, ModelCard]:
    """By the hash that messages carry; a file that is no card is logged and left out."""
    cards = {}
    for path in sorted(folder.glob("*.json")):
        if path.name == "yunet.json":  # the face detector's
            continue
        try:
            card = read_card(path)
        except ModelCardError as error:
            log.warning("not used as a model card: %s", error)
        else:
            cards[card.short] = card
    return cards
