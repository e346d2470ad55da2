"""Records that were read or written lately, each as long as its file is the one that it was read from."""

from __future__ import annotations

import threading

from headgated.core.deployment import ConfigDeployment

KEPT = 512


class Recent:
    """At most `KEPT` records by id. Thread-safe."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[int, ConfigDeployment]] = {}
        self._lock = threading.Lock()

    def get(self, deployment_id: str, mark: int) -> ConfigDeployment | None:
        """Return the record that was read from a file of that mark, if there is one."""
        known = self._records.get(deployment_id)
        return known[1] if known is not None and known[0] == mark else None

    def put(self, record: ConfigDeployment, mark: int) -> None:
        """Keep a record, in place of the one that was kept first."""
        with self._lock:
            self._records.pop(record.deployment_id, None)
            self._records[record.deployment_id] = mark, record
            if len(self._records) > KEPT:
                del self._records[next(iter(self._records))]
