"""XMP (ISO 16684-1): statements that are no longer true of a picture are taken out.

XMP packet -> remove_false_statements -> packet without them, what they were about

A new file has other bytes than the one that the packet came with: it has no gain map, no depth map and no film behind
its picture, its thumbnail would be the old picture, and it is upright. A viewer that believes such a statement looks
for what is not there, or turns the picture once more. All other statements stay: author, licence, keywords, rating.
"""

import re
from xml.dom import minidom
from xml.parsers.expat import ExpatError

MAX_BYTES = 1 << 18  # of a packet that is edited; a larger one with such statements is left out
_NAMESPACES = {  # of statements that go, and what they are about
    "http://ns.adobe.com/hdr-gain-map/1.0/": "gain map",
    "http://ns.apple.com/HDRGainMap/1.0/": "gain map",
    "http://ns.google.com/photos/1.0/container/": "attached files (XMP)",
    "http://ns.google.com/photos/1.0/container/item/": "attached files (XMP)",
    "http://ns.google.com/photos/dd/1.0/container/": "attached files (XMP)",
    "http://ns.google.com/photos/dd/1.0/item/": "attached files (XMP)",
    "http://ns.google.com/photos/dd/1.0/device/": "depth map",
    "http://ns.google.com/photos/dd/1.0/depthmap/": "depth map",
    "http://ns.google.com/photos/1.0/depthmap/": "depth map",
    "http://ns.google.com/photos/1.0/image/": "attached files (XMP)",
    "http://ns.google.com/photos/1.0/audio/": "attached files (XMP)",
    "http://ns.apple.com/pixeldatainfo/1.0/": "auxiliary picture",
    "http://ns.adobe.com/xmp/note/": "extended XMP",
    "http://ns.adobe.com/xap/1.0/g/img/": "thumbnail",
    "http://cipa.jp/exif/1.0/mpf/": "further pictures (MPF)",
}
_CAMERA, _TIFF, _XMP = (
    "http://ns.google.com/photos/1.0/camera/", "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/xap/1.0/"
)  # fmt: skip
_NAMES = {  # single statements of namespaces that stay
    (_TIFF, "Orientation"): "", (_TIFF, "XResolution"): "", (_TIFF, "YResolution"): "", (_TIFF, "ResolutionUnit"): "",
    (_TIFF, "ImageWidth"): "", (_TIFF, "ImageLength"): "", (_TIFF, "BitsPerSample"): "", (_TIFF, "Compression"): "",
    ("http://ns.adobe.com/exif/1.0/", "PixelXDimension"): "", ("http://ns.adobe.com/exif/1.0/", "PixelYDimension"): "",
    (_XMP, "Thumbnails"): "thumbnail",
}  # fmt: skip
_CAMERA_FILM = re.compile("Motion|MicroVideo")  # of the namespace of Google's cameras
_SUSPECT = re.compile(
    rb"gain-?map|photos/(?:1|dd)|pixeldatainfo|xmp/note|/g/img|mpf|Thumbnails|tiff/1.0|exif/1.0", re.IGNORECASE
)


def remove_false_statements(packet: bytes) -> tuple[bytes | None, list[str]]:
    """The packet without statements about what a new file does not hold, and names of what those were about.

    A packet without such statements is unchanged, byte for byte. One that cannot be edited becomes None: it is broken,
    larger than MAX_BYTES, or has a document type, which XMP has not and which may name other files.
    """
    if not _SUSPECT.search(packet):
        return packet, []
    text = packet.rstrip(b"\0")
    if len(text) > MAX_BYTES or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        return None, ["XMP"]
    try:
        document = minidom.parseString(text)  # noqa: S318  (without a document type there are no entities)
        removed: list[str] = []
        root = document.documentElement
        if root is None or not _clean(root, removed):
            return packet, []
        nodes = [node.toxml() for node in document.childNodes]
    except (ExpatError, ValueError, AttributeError, RecursionError):
        return None, ["XMP"]
    return "\n".join(nodes).encode(), list(dict.fromkeys(name for name in removed if name))


def _clean(element: minidom.Element, removed: list[str]) -> bool:
    """Takes false statements out of an element and its children; whether there were any."""
    has_changed = False
    for attribute in list(element.attributes.values()):
        reason = _find_reason(attribute.namespaceURI, attribute.localName)
        is_declaration = attribute.prefix == "xmlns" and attribute.value in _NAMESPACES
        if reason is not None or is_declaration:
            element.removeAttributeNode(attribute)
            removed.append(reason or "")
            has_changed |= reason is not None
    for child in list(element.childNodes):
        if not isinstance(child, minidom.Element):
            continue
        reason = _find_reason(child.namespaceURI, child.localName)
        if reason is not None:
            element.removeChild(child)
            removed.append(reason)
            has_changed = True
        else:
            has_changed |= _clean(child, removed)
    return has_changed


def _find_reason(namespace: str | None, name: str | None) -> str | None:
    """What a statement is about, if it is false of a new file ("" if that needs no mention), else None."""
    if namespace == _CAMERA and name is not None and _CAMERA_FILM.match(name):
        return "film of a motion photo"
    if namespace in _NAMESPACES:
        return _NAMESPACES[namespace]
    return _NAMES.get((namespace or "", name or ""))
