"""`python deploy/pin_images.py`: the images that we build on and start, by digest: REGISTRY/NAME:TAG@sha256:...

Dockerfile (ARG BASE), docker-compose.yml (image) -> each tag asked of its registry -> the same files with digests

A tag can be moved, a digest cannot. The registry is asked by docker, skopeo or crane, whichever is installed. `--check`
changes nothing; exit code 1 if an image has no digest, or another one than its tag has now. Nothing is changed unless
all digests were found.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FILES = ("Dockerfile", "docker-compose.yml")
SECONDS = 60  # for one answer of a registry
# an image of a registry: its first part is a host, so the images that are built here are none
_IMAGE = re.compile(
    r"^(?P<start>ARG BASE=|\s+image: )(?P<tag>[\w.-]+\.[\w.-]+/[\w./-]+:[\w.-]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?$",
    re.MULTILINE,
)
_COMMANDS: dict[str, tuple[str, ...]] = {
    "docker": ("docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", "IMAGE"),
    "skopeo": ("skopeo", "inspect", "--format", "{{.Digest}}", "docker://IMAGE"),
    "crane": ("crane", "digest", "IMAGE"),
}


class PinError(Exception):
    """A digest cannot be found; one sentence."""


def find_digest(image: str) -> str:
    """The digest ("sha256:...") that a tag has now; PinError if no program can ask its registry."""
    failures = []
    for name, words in _COMMANDS.items():
        if shutil.which(name) is None:
            continue
        command = [word.replace("IMAGE", image) for word in words]
        try:
            done = subprocess.run(  # noqa: S603  (the words of this file)
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            failures.append(f"{name} took longer than {SECONDS} s")
            continue
        digest = done.stdout.strip()
        if done.returncode == 0 and re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            return digest
        failures.append(f"{name}: {(done.stderr.strip().splitlines() or ['no digest'])[-1]}")
    reason = "; ".join(failures) or f"none of {', '.join(_COMMANDS)} is installed"
    raise PinError(f"no digest of {image}: {reason}")


def pin(texts: Sequence[str]) -> list[str]:
    """The texts of files with the digest that each image's tag has now. Raises PinError."""
    images = sorted({match["tag"] for text in texts for match in _IMAGE.finditer(text)})
    digests = {image: find_digest(image) for image in images}
    return [_IMAGE.sub(lambda match: f"{match['start']}{match['tag']}@{digests[match['tag']]}", text) for text in texts]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python deploy/pin_images.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 if a digest is missing or old"
    )
    options = parser.parse_args(arguments)
    paths = [Path(__file__).resolve().parent.parent / name for name in FILES]
    try:
        before = [path.read_text(encoding="utf-8") for path in paths]
        after = pin(before)
        changes = [(path, text) for path, old, text in zip(paths, before, after, strict=True) if old != text]
        for path, text in changes:
            state = "has images without their digest" if options.check else "digests written"
            sys.stdout.write(f"{path.name}: {state}\n")
            if not options.check:
                path.write_text(text, encoding="utf-8")
    except (PinError, OSError) as error:
        sys.stderr.write(f"pin_images.py: {error}\n")
        return 2
    return 1 if options.check and changes else 0


if __name__ == "__main__":
    sys.exit(main())
