"""Every content that was deployed or overwritten, every tree, every commitment, in one file.

Use `History`; the other modules are its parts.
"""

from headgated.effects.history.collection import Collected
from headgated.effects.history.deployments import Finished
from headgated.effects.history.heads import Head
from headgated.effects.history.recovery import Unfinished
from headgated.effects.history.store import History

__all__ = ["Collected", "Finished", "Head", "History", "Unfinished"]
