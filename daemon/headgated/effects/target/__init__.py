"""The target directory: what is there, and changing it all or nothing.

Every change is a rename with an exact inverse (`core.steps`), so that undoing needs no space and gives back the very file
that was there. A crash at any point leaves what `Target.recover` makes whole: all of the steps, or none.
"""

from headgated.effects.target.possible import Obstacle, obstacles
from headgated.effects.target.target import Target

__all__ = ["Obstacle", "Target", "obstacles"]
