"""The sender's database: `tables` says what it has, `store` how it is reached and what it must not forget."""

from .recording import act
from .store import TICK, Clock, Store, insert_missing, lock_contacts

__all__ = ["TICK", "Clock", "Store", "act", "insert_missing", "lock_contacts"]
