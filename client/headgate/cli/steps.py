"""Checks, reloads and health probes of a deployment, as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.moments import span
from headgate.filename import shown

if TYPE_CHECKING:
    from headgate.cli.terminal import Paint
    from headgate.v1.deployment_pb2 import ConfigDeployment

_LINES = 200


def step_lines(deployment: ConfigDeployment, paint: Paint, *, failed_only: bool = False) -> Iterator[str]:
    """Yield a line for each step, and below it what it printed."""
    for step in deployment.steps:
        if failed_only and step.ok:
            continue
        told = paint.good("well") if step.ok else paint.bad("failed")
        tries = f", tried {step.attempts} times" if step.attempts > 1 else ""
        why = f": {shown(step.message)}" if step.message else ""
        yield f"{step.step:<11}  {shown(step.name)}: {told}{why} ({span(step.seconds)}{tries})"
        lines = step.output.splitlines()
        yield from (f"  | {shown(line)}" for line in lines[:_LINES])
        if len(lines) > _LINES:
            yield f"  | ... {len(lines) - _LINES} more lines; -o json has them all"
