"""For every test."""

from __future__ import annotations

import signal

# A shell has what it starts in the background ignore interrupts, and what that starts inherits it: programs that tests interrupt
# would never notice.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
