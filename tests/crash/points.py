"""The points at which a sender is struck, in the order in which a message passes them."""

from __future__ import annotations

from typing import Final

from journeylab.sender.sending.worker import STEPS

MIGRATION: Final = ("in_migration", "migration_before_commit", "after_migration")
PLAN: Final = ("after_plan_insert", "plan_before_commit", "after_plan_commit")
POINTS: Final = (*MIGRATION, *PLAN, *STEPS)

WINDOW: Final = STEPS[STEPS.index("gate_before_commit") : STEPS.index("after_journal_before_commit")]
"""The last steps seen of a message that may be ambiguous after a crash: between gate and recorded reply."""
AMBIGUOUS: Final = WINDOW[1:]
"""The points at which a crash leaves one; at the first one of the window the gate is not committed yet."""
BESIDE: Final = ("after_settle",)
"""The points at which a crash may leave one, as the lane's next message may have passed the gate with this commit."""
IN_TRANSACTION: Final = ("gate_before_commit", "settle_before_commit", "in_reaper", "after_plan_insert",
                         "plan_before_commit")  # fmt: skip
