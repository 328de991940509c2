"""Event logs in Spark: replays and simulations on a cluster, each bucket of contacts by itself, with equal results.

`SparkLog.of` takes DataFrames of events and contacts, from a table or from Parquet on object storage. `replay` and
`simulate` take the log in place of an `EventLog`: the machine runs inside `applyInArrow` on the executors, counts are
added up there, and only they come to the driver. `frame` gives a result's table of every contact as a DataFrame, which
is written without ever coming to the driver:

    log = SparkLog.of(spark.table("crm.events"), spark.table("crm.contacts"))
    replayed = jl.replay(journey, log)
    frame(replayed, "visits").write.saveAsTable("crm.visits")
"""

from .log import SparkLog
from .runs import frame

__all__ = ["SparkLog", "frame"]
