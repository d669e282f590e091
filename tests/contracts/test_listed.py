"""The file that `vidi models` reads is the catalogue."""

from vidi.catalog.listed import TABLE, table


def test_the_file_is_what_the_catalogue_says() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(), "write it anew: make listing"
