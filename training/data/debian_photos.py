"""Free photographs for training: `photos/debian`, chosen from Debian's packages of desktop backgrounds.

package of Debian's archive (SHA-256 checked) -> listed photographs -> scaled down by two or more -> PNG in the cache

Scaling down averages away noise and compression artefacts. Each photograph is kept at up to five sizes: most show few
things from near, and their small copies have texture as dense as small pictures. Lanczos' filter keeps it sharp
(0.1 dB better at sigma 15 than area averages, after the same minute of training).
"""

import io
import lzma
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.data.download import cache, fetch
from training.errors import DataError, DiskError

ARCHIVE = "https://deb.debian.org/debian/pool/main"
LONGER_SIDES = (1400, 1000, 700, 500, 350)  # pixels, of the copies; each is at most half as large as the photograph


@dataclass(frozen=True)
class Source:
    """A package: where in the archive, its checksum, and the photographs to take: path -> (author, licence)."""

    pool: str
    sha256: str
    photographs: dict[str, tuple[str, str]]


_ARTISTS = "usr/share/backgrounds"
_MATE = "usr/share/backgrounds/mate/nature"
_PLASMA = "usr/share/wallpapers/{}/contents/images/2560x1600.jpg"
_BY, _BY_SA = "CC BY 4.0", "CC BY-SA 4.0"

SOURCES = (
    Source(
        "l/lomiri-wallpapers/lomiri-wallpapers-16.04_20.04.0-2_all.deb",
        "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        {
            f"{_ARTISTS}/Bridge_by_Sander_Klootwijk.jpg": ("Sander Klootwijk", _BY_SA),
            f"{_ARTISTS}/Dragonfly_by_Bolly.jpg": ("Bolly", _BY_SA),
            f"{_ARTISTS}/Picture_0B_by_freespace.jpg": ("Trevor 'Freespace'", _BY),
            f"{_ARTISTS}/Picture_1A_by_freespace.jpg": ("Trevor 'Freespace'", _BY),
            f"{_ARTISTS}/aitzgorri_by_Aitzol_Berasategi.jpg": ("Aitzol Berasategi", _BY),
            f"{_ARTISTS}/free_by_Peter_Nerlich.jpg": ("Peter Nerlich", _BY_SA),
            f"{_ARTISTS}/greentock_by_Peter_Nerlich.jpg": ("Peter Nerlich", _BY_SA),
            f"{_ARTISTS}/life_by_Aitzol_Berasategi.jpg": ("Aitzol Berasategi", _BY),
            f"{_ARTISTS}/picosdeeuropa_by_Aitzol_Berasategi.jpg": ("Aitzol Berasategi", _BY),
            f"{_ARTISTS}/seeding_by_Clements_Engelhardt.jpg": ("Clemens Engelhardt", "CC0 1.0"),
            f"{_ARTISTS}/sunset_by_Aitzol_Berasategi.jpg": ("Aitzol Berasategi", _BY),
        },
    ),
    Source(
        "l/lomiri-wallpapers/lomiri-wallpapers-20.04_20.04.0-2_all.deb",
        "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
        {f"{_ARTISTS}/Kleiber_by_Lukas_Baubkus.jpg": ("Lukas Baubkus", "CC BY-SA 3.0")},
    ),
    Source(
        "m/mate-backgrounds/mate-backgrounds_1.26.0-1_all.deb",
        "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        {
            f"{_MATE}/Aqua.jpg": ("Charles Barbin", "GPL-2+"),
            f"{_MATE}/Blinds.jpg": ("Lennart Poettering, Andrea Cimitan", "GPL-2+"),
            f"{_MATE}/Dune.jpg": ("Marco Cogoni, Hylke Bons", "GPL-2+"),
            f"{_MATE}/FreshFlower.jpg": ("Jens Ansorg", "GPL-2+"),
            f"{_MATE}/Garden.jpg": ("Charles Barbin", "GPL-2+"),
            f"{_MATE}/GreenMeadow.jpg": ("Timothy Schellhase, Lapo Calamandrei", "GPL-2+"),
            f"{_MATE}/LadyBird.jpg": ("Charles Barbin", "GPL-2+"),
            f"{_MATE}/RainDrops.jpg": ("blackcombwhistler07", "GPL-2+"),
            f"{_MATE}/Storm.jpg": ("Sergey Nazarov", "GPL-2+"),
            f"{_MATE}/TwoWings.jpg": ("Charles Barbin, Hylke Bons", "GPL-2+"),
            f"{_MATE}/Wood.jpg": ("Jean-François Fortin Tam", "GPL-2+"),
            f"{_MATE}/YellowFlower.jpg": ("Charles Barbin", "GPL-2+"),
        },
    ),
    Source(
        "p/plasma-workspace-wallpapers/plasma-workspace-wallpapers_5.27.5-2_all.deb",
        "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b",
        {
            _PLASMA.format("BytheWater"): ("Maciej Wiklo", "LGPL-3"),
            _PLASMA.format("ColdRipple"): ("Risto Saukonpää", "LGPL-3"),
            _PLASMA.format("ColorfulCups"): ("Dmitri Popov", "LGPL-3"),
            _PLASMA.format("EveningGlow"): ("Ian Hex", "LGPL-3"),
            _PLASMA.format("FallenLeaf"): ("Martin Klapetek", "LGPL-3"),
            _PLASMA.format("Grey"): ("Sigi Sagi", "LGPL-3"),
            _PLASMA.format("Kite"): ("Risto Saukonpää", "LGPL-3"),
            _PLASMA.format("OneStandsOut"): ("Risto Saukonpää", "LGPL-3"),
            _PLASMA.format("Path"): ("Risto Saukonpää", "LGPL-3"),
            _PLASMA.format("summer_1am"): ("Risto Saukonpää", "LGPL-3"),
        },
    ),
)  # fmt: skip


EXAMPLES = Source(
    SOURCES[0].pool,
    SOURCES[0].sha256,
    {
        f"{_ARTISTS}/friends_by_Aitzol_Berasategi.jpg": ("Aitzol Berasategi", _BY),
        f"{_ARTISTS}/Wine_by_Jakkub_Mede.jpg": ("Jakub Mede", _BY),
    },
)  # never trained on: what a card may show


def fetch_photographs() -> Path:
    """The folder of the scaled photographs; downloads 168 MB once. DownloadError, DataError or DiskError."""
    return _fetch_folder("debian-lanczos", SOURCES)


def fetch_examples() -> Path:
    """The folder of the scaled EXAMPLES; raises as `fetch_photographs` does."""
    return _fetch_folder("debian-examples", (EXAMPLES,))


def _fetch_folder(name: str, sources: Sequence[Source]) -> Path:
    folder = cache() / "photos" / name
    if folder.is_dir():
        return folder
    part = folder.with_name(f"{name}.part")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for source in sources:
            url = f"{ARCHIVE}/{source.pool}"
            package = fetch(url, cache() / "debian" / Path(source.pool).name, sha256=source.sha256)
            unpack_photographs(package, source, part)
        part.replace(folder)
    except OSError as error:
        raise DiskError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def licence() -> str:
    """One line that names every photograph, its author and its licence."""
    photographs = (
        f"{_photograph_name(path)} ({author}, {licence})"
        for source in SOURCES
        for path, (author, licence) in source.photographs.items()
    )
    return "free photographs from Debian's packages: " + "; ".join(photographs)


def unpack_photographs(package: Path, source: Source, folder: Path) -> None:
    """Writes the package's photographs, scaled, as <name>-1.png, <name>-2.png, ...; DataError if one is missing."""
    missing = dict.fromkeys(source.photographs)
    try:
        with tarfile.open(fileobj=io.BytesIO(_read_member(package, "data.tar")), mode="r:*") as archive:
            for entry in archive:
                path = entry.name.removeprefix("./")
                if path in missing and (file := archive.extractfile(entry)) is not None:
                    del missing[path]
                    _write_copies(file.read(), folder, _photograph_name(path))
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{package} is not a package of Debian: {error}") from error
    if missing:
        raise DataError(f"{package} has no {next(iter(missing))}")


def _read_member(package: Path, name: str) -> bytes:
    """The bytes of a member of an ar archive (deb(5)) whose name begins with `name`."""
    data = package.read_bytes()
    offset = 8  # after "!<arch>\n"
    while data[:8] == b"!<arch>\n" and offset + 60 <= len(data):
        header = data[offset : offset + 60]
        size = int(header[48:58])
        if header[:16].startswith(name.encode()):
            return data[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2
    raise DataError(f"{package} is not a package of Debian: it holds no {name}")


def _photograph_name(path: str) -> str:
    """Bridge_by_Sander_Klootwijk, or the folder where all files have one name."""
    return path.split("/")[3] if "/contents/" in path else Path(path).stem


def _write_copies(encoded: bytes, folder: Path, name: str) -> None:
    """Writes the photograph's copies of LONGER_SIDES as <name>-1.png, <name>-2.png, ..."""
    try:
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
    except OSError as error:
        raise DataError(f"{name} cannot be read as an image: {error}") from error
    factors = dict.fromkeys(max(2.0, max(image.size) / side) for side in LONGER_SIDES)
    for number, factor in enumerate(factors, 1):
        size = (round(image.width / factor), round(image.height / factor))
        image.resize(size, Image.Resampling.LANCZOS).save(folder / f"{name}-{number}.png")
