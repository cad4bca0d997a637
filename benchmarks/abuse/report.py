"""What a trial found: one row of the table, and whether every promise was kept."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """Args: trial; count: how many (requests, connections, rounds); found: what happened; growth: bytes."""

    trial: str
    count: str
    found: str
    seconds: float
    growth: int | None = None
    broken: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Of a Markdown table."""
        growth = "" if self.growth is None else f"{self.growth / 2**20:+.1f} MiB"
        verdict = "kept" if not self.broken else "BROKEN: " + "; ".join(self.broken)
        return f"| {self.trial} | {self.count} | {self.found} | {self.seconds:.0f} s | {growth} | {verdict} |"


HEADING = "| trial | how many | what happened | time | memory growth | promise |\n|---|---|---|---|---|---|"
