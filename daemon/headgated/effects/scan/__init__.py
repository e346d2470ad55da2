"""Reading sources: which files they offer, what is in them, and whether they hold still."""

from headgated.effects.scan.git import git_busy
from headgated.effects.scan.limits import ScanLimits
from headgated.effects.scan.source import Source
from headgated.effects.scan.sweep import ScanEndedError

__all__ = ["ScanEndedError", "ScanLimits", "Source", "git_busy"]
