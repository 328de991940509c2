"""Event logs on disk in buckets of contacts, for logs that are larger than memory.

`bucket_log` makes one from a source of any size in bounded memory; each of its buckets is an event log of its own, with
the meaning of columns and the span of the whole.
"""

from .log import BucketedLog
from .writing import bucket_log

__all__ = ["BucketedLog", "bucket_log"]
