"""A response model that a test can see through: every response has one probability and one delay."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

RESPONSES = ("delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "converted")
HOUR = 3_600_000_000


class ConstantModel:
    """Answers every send alike; `asked` holds the messages it was asked about, in order."""

    def __init__(self, messages, *, converts=None, sd=0.0, features=(), delay_hours=None, **chances):
        self.messages = tuple(sorted(messages))
        self.responses = RESPONSES if converts else RESPONSES[:-1]
        self.converts, self.features, self.within = converts, tuple(features), timedelta(days=7)
        self.chances = np.array([chances.get(one, 0.0) for one in self.responses])
        self.delay_hours = {"opened": 1.0, "clicked": 0.5, **(delay_hours or {})}
        self.cell_edges = np.empty((len(self.responses), 0))
        self.cell_sd = np.zeros((len(self.messages), 1, len(self.responses)))
        self.shift_sd = np.full((len(self.messages), len(self.responses)), sd)
        self.unseen_sd = np.full(len(self.responses), 1.0)
        self.asked: list[str] = []
        self.failures: tuple[str, ...] = ()

    def predict(self, X, message):
        self.asked += [self.messages[one] for one in message]
        return np.tile(self.chances, (len(X), 1))

    def draw_delays(self, response, message, slot, u):
        return np.full(len(u), int(self.delay_hours.get(response, 2.0) * HOUR))

    def slot_of(self, local_hour):
        return np.asarray(local_hour).astype(np.int64) // 4

    def tenure_slot_of(self, known_us):
        return np.zeros(len(known_us), np.int64)
