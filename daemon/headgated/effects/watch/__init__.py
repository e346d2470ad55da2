"""Watching sources: hints, as soon as anything may have changed in one of them.

Promises: every change made after `Watcher.add` returned is told, by its path as soon as the kernel tells us, else by "anything
may have changed" when the next scan or poll is due; and whatever keeps events from coming is noticed, shown and healed.
Not promised: that a told path differs. Events are hints, the scan is the truth; no file is ever opened here.
"""

from headgated.effects.watch.state import WatchMode, WatchState
from headgated.effects.watch.watcher import Watcher

__all__ = ["WatchMode", "WatchState", "Watcher"]
