"""The straight line from sources to readers: `sync` fills the warehouse, `publish_all` makes a generation of it.

Many threads read, one writes. Readers put what they get into a bounded queue; the caller's thread takes it out and
commits batches: rows together with the marks that say which windows they complete. So whatever is killed wherever, the
next run repeats at most what no mark speaks of, and repeating changes nothing.
"""

from sync.events import SyncAccount
from sync.publication import publish_all
from sync.run import sync
from sync.writer import Progress

__all__ = ["Progress", "SyncAccount", "publish_all", "sync"]
