"""The audit log: what people and automata did to the sender, in a tree that shows whoever changes it.

| module | what it has |
|---|---|
| `tree` | RFC 6962's hashes and proofs; nothing else |
| `entries` | an entry, what its leaf commits to, and what of it can be erased |
| `checkpoints` | signed statements of how long the log is and what is in it |
| `reading` | entries, checkpoints and the tree as the database has them; erasing |
| `verifying` | whether a log is what it was, and where it is not |
| `proofs` | files that prove entries to whoever has the public key alone |
| `formats` | entries as RFC 5424, ECS, CEF and OCSF have them |
| `shipping` | records to a SIEM over TLS (RFC 5425) |
| `keeping` | what a running worker does: checkpoints, and where they go |

Entries are written by `journeylab.sender.store.act`, in the transaction of the change.
"""
