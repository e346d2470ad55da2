"""Answers that were given to requests, by the id that the caller chose: the same request again gets the same answer."""

from __future__ import annotations

from headgated.effects.history.database import Database

REMEMBERED = 10_000


class Requests:
    """The newest answers in a database. Thread-safe. A power cut may forget those since the last commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, request_id: str, kind: str, fingerprint: str, answer: str) -> None:
        """Note an answer; the first one stands. Beyond 10,000 the oldest are dropped."""
        with self._database.write() as sql:
            sql.execute(
                "INSERT OR IGNORE INTO requests (id, kind, fingerprint, answer) VALUES (?, ?, ?, ?)",
                (request_id, kind, fingerprint, answer),
            )
            sql.execute("DELETE FROM requests WHERE n <= (SELECT max(n) FROM requests) - ?", (REMEMBERED,))

    def recall(self, request_id: str) -> tuple[str, str, str] | None:
        """Return (kind, fingerprint, answer); None where there was no such request."""
        statement = "SELECT kind, fingerprint, answer FROM requests WHERE id = ?"
        with self._database.read() as sql:
            row: tuple[str, str, str] | None = sql.execute(statement, (request_id,)).fetchone()
            return row
