"""The race card: meetings, races, runners and scheduled starts, which the feed does not contain."""

from rbhq_stream._race_card.card import RaceCard
from rbhq_stream._race_card.entries import CardMeeting, CardRace, CardRunner

__all__ = ["CardMeeting", "CardRace", "CardRunner", "RaceCard"]
