"""`autoencoder-train`, which breaks off when the second epoch's checkpoint is written; torchrun runs it."""

import sys
from pathlib import Path
from typing import Any

from training.__main__ import main
from training.engine import checkpoint

save = checkpoint.save
saved: list[Path] = []


def breaks_off(path: Path, state: dict[str, Any]) -> None:
    save(path, state)
    saved.append(path)
    if len(saved) == 2:
        raise KeyboardInterrupt


if __name__ == "__main__":
    checkpoint.save = breaks_off
    sys.exit(main())
