"""Configuration files of models that other libraries saved: JSON beside the weights.

path -> read_configuration -> document, SHA-256
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from training.errors import ImportRefused


def read_configuration(path: Path, remedy: str) -> tuple[Any, str]:
    """The JSON document, and the SHA-256 of its file (hex).

    Args:
        remedy: the end of the sentence where the file cannot be read.
    Raises:
        ImportRefused: it cannot be read, or is not JSON.
    """
    try:
        data = path.read_bytes()
        return json.loads(data), hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read ({error.strerror or error}); {remedy}") from error
    except ValueError as error:
        raise ImportRefused(f"{path} is not JSON: {error}") from error
