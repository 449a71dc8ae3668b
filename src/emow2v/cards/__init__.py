"""Model cards: what a model package says of itself, and which card a name means."""

from emow2v.cards.card import CARD_FILE, INT8, Card, file_sha256, is_pulled, read_card, update_card, write_card
from emow2v.cards.checkpoint import CHECKPOINT, WAV2VEC2_LIMITS, WEIGHT_FILES, checkpoint_card, stated_licence
from emow2v.cards.names import EMBEDDED, available, find, for_precision
from emow2v.cards.published import PUBLISHED, Published

__all__ = [
    "CARD_FILE",
    "CHECKPOINT",
    "EMBEDDED",
    "INT8",
    "PUBLISHED",
    "WAV2VEC2_LIMITS",
    "WEIGHT_FILES",
    "Card",
    "Published",
    "available",
    "checkpoint_card",
    "file_sha256",
    "find",
    "for_precision",
    "is_pulled",
    "read_card",
    "stated_licence",
    "update_card",
    "write_card",
]
