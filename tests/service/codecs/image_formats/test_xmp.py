"""XMP: statements that are false of a new file go, all others stay."""

import pytest

from service.codecs.image_formats import xmp

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
AUTHOR = "<dc:creator><rdf:Seq><rdf:li>Zoë &amp; Co</rdf:li></rdf:Seq></dc:creator>"


def packet(attributes: str = "", content: str = "") -> bytes:
    text = (
        f'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>'
        f'<rdf:Description rdf:about="" {DC} {attributes}>{AUTHOR}{content}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    )
    return text.encode()


@pytest.mark.parametrize(
    ("attributes", "content", "name", "gone"),
    [
        ('xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"', "", "gain map", b"hdr-gain-map"),
        (
            'xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/"',
            "<HDRGainMap:HDRGainMapVersion>65536</HDRGainMap:HDRGainMapVersion>",
            "gain map",
            b"65536",
        ),
        (
            'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
            'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"',
            '<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" '
            'Item:Length="1568"/></rdf:li></rdf:Seq></Container:Directory>',
            "attached files (XMP)",
            b"1568",
        ),
        (
            'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1" '
            'GCamera:MicroVideoOffset="9"',
            "",
            "film of a motion photo",
            b"MicroVideo",
        ),
        (
            'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" GDepth:Format="RangeInverse"',
            "",
            "depth map",
            b"Inverse",
        ),
        (
            'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:g="http://ns.adobe.com/xap/1.0/g/img/"',
            '<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"><g:image>/9j/4AAQ</g:image></rdf:li></rdf:Alt>'
            "</xmp:Thumbnails>",
            "thumbnail",
            b"4AAQ",
        ),
    ],
)
def test_statements_about_what_a_new_file_does_not_hold_go_and_are_named(
    attributes: str, content: str, name: str, gone: bytes
) -> None:
    cleaned, names = xmp.remove_false_statements(packet(attributes, content))
    assert names == [name]
    assert cleaned is not None
    assert gone not in cleaned
    assert AUTHOR.encode() in cleaned
    assert cleaned.startswith(b"<?xpacket begin")
    assert xmp.remove_false_statements(cleaned) == (cleaned, [])


def test_an_orientation_that_was_applied_goes_without_a_word_and_other_statements_of_its_kind_stay() -> None:
    tiff = 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="Camera"'
    cleaned, names = xmp.remove_false_statements(packet(tiff))
    assert names == []
    assert cleaned is not None
    assert b"Orientation" not in cleaned
    assert b'tiff:Make="Camera"' in cleaned


def test_a_packet_without_false_statements_is_unchanged() -> None:
    data = packet('xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"')
    assert xmp.remove_false_statements(data) == (data, [])


@pytest.mark.parametrize(
    "data",
    [
        packet('xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"')[:-60],
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + packet('xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'),
        packet('xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"', "x" * xmp.MAX_BYTES),
        b"<a>" * 5000 + b"hdr-gain-map" + b"</a>" * 5000,
        b"hdr-gain-map \xff\xfe",
    ],
    ids=["cut off", "document type", "too large", "too deep", "no XML"],
)
def test_a_packet_that_cannot_be_edited_is_left_out(data: bytes) -> None:
    cleaned, names = xmp.remove_false_statements(data)
    assert (cleaned, names) in ((None, ["XMP"]), (data, []))
    assert cleaned is None or b"http://ns.adobe.com/hdr-gain-map" not in cleaned
