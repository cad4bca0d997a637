from benchmarks.reading import wrong


def test_errors_of_reading_are_edits_without_blanks() -> None:
    assert wrong("the cat", "the cat") == (0, 6)
    assert wrong("thecat", "the cat") == (0, 6)
    assert wrong("tha cat", "the cat") == (1, 6)
    assert wrong("", "cat") == (3, 3)
    assert wrong("a cart!", "cat") == (3, 3)
    assert wrong("kitten", "sitting")[0] == 3
    assert wrong("sunday", "saturday")[0] == 3
