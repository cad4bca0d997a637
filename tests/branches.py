"""At least 90 % of the branches of both packages were taken."""

import json
import sys
from pathlib import Path

LEAST = 0.90


def main(report: Path) -> int:
    """1 if a package falls short; `report`: coverage's, in JSON."""
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    fell_short = False
    for part in ("service", "training"):
        summaries = [f["summary"] for name, f in files.items() if name.startswith(f"{part}/")]
        share = sum(s["covered_branches"] for s in summaries) / sum(s["num_branches"] for s in summaries)
        sys.stdout.write(f"branches of {part}: {share:.1%}\n")
        fell_short |= share < LEAST
    return int(fell_short)
