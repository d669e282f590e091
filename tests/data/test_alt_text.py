"""Alternative texts of web pages: which images there are, and which texts may be captions."""

import pytest

from vidi.data.alt_text import AltFilter, AltText, images_of, kept

PAGE = """
<html><head><title>x</title></head><body>
<IMG SRC="a.jpg" ALT="Two   cats &amp; a dog
 on a sofa" width=640 height="480px">
<img src='/b.png' alt=''><img src="c.png"><img alt="no source at all here">
<p>text <img src="https://other.org/d.jpg?x=1&amp;y=2" alt="a &quot;quoted&quot; red box" height=100>
<img src="e.gif" alt="first wins always" alt="second">
<!-- <img src="hidden.jpg" alt="in a comment, not an image"> -->
<script>var s = '<img src="s.jpg" alt="in a script, not an image">';</script>
<img src="data:image/png;base64,AAAA" alt="an image inside the page"
</body>
"""


@pytest.mark.system("7.3-ALT")
def test_images_with_alternative_texts_are_found_in_order() -> None:
    found = list(images_of(PAGE, "https://example.org/news/index.html"))
    assert found[:4] == [
        AltText("https://example.org/news/a.jpg", "Two cats & a dog on a sofa", (480, 640)),
        AltText("", "no source at all here"),
        AltText("https://other.org/d.jpg?x=1&y=2", 'a "quoted" red box'),
        AltText("https://example.org/news/e.gif", "first wins always"),
    ]
    assert not any("not an image" in pair.alt for pair in found)
    assert list(images_of("")) == list(images_of("<img <<< alt=>")) == []


def test_a_page_may_name_another_base() -> None:
    page = '<base href="/pictures/"><img src="a.jpg" alt="x"><img src="http://b.org/c.png" alt="y">'
    assert [pair.source for pair in images_of(page, "http://a.org/p/")] == [
        "http://a.org/pictures/a.jpg",
        "http://b.org/c.png",
    ]
    assert next(iter(images_of('<img src="a.jpg" alt="x">'))).source == "a.jpg"


@pytest.mark.system("7.3-ALT")
@pytest.mark.parametrize(
    ("alt", "reason"),
    [
        ("two cats on a sofa", None),
        ("Müller's neue Katze", None),
        ("猫 と 犬 です", None),
        ("IMG_0042.JPG", "says nothing"),
        ("DSC 00123", "says nothing"),
        ("photo 20231231", "says nothing"),
        ("logo", "says nothing"),
        ("Image photo banner", "says nothing"),
        ("1234 5678 !!", "says nothing"),
        ("https://example.org/a/b", "says nothing"),
        ("a cat", "is too short or too long"),
        ("my cat IMG_1.png", "is too short or too long"),
        ("word " * 21, "is too short or too long"),
        ("w" * 299 + " and more words", "is too short or too long"),
        ("this ends &lt;end_of_text&gt; here and now", "spells a special token"),
    ],
)
def test_a_text_is_kept_by_its_words(alt: str, reason: str | None) -> None:
    pair = AltText("a.jpg", alt.strip())
    assert AltFilter().refusal(pair) == reason
    assert kept([pair]) == ([] if reason else [pair])


@pytest.mark.system("7.3-ALT")
@pytest.mark.parametrize(
    ("size", "is_kept"),
    [(None, True), ((64, 192), True), ((63, 100), False), ((64, 193), False), ((600, 199), False), ((1, 1), False)],
)
def test_an_image_is_kept_by_the_size_that_the_page_tells(size: tuple[int, int] | None, is_kept: bool) -> None:
    assert bool(kept([AltText("a.jpg", "two cats on a sofa", size)])) is is_kept


def test_images_without_a_file_of_their_own() -> None:
    for source in ("", "data:image/png;base64,AAAA"):
        assert AltFilter().refusal(AltText(source, "two cats on a sofa")) == "has no file of its own"


@pytest.mark.system("7.3-ALT")
def test_texts_of_many_images_are_decoration_and_pairs_come_once() -> None:
    many = [AltText(f"{n}.jpg", "Buy our New shoes" if n % 2 else "buy our new shoes") for n in range(11)]
    pair = AltText("a.jpg", "two cats on a sofa")
    assert kept([*many, pair, pair]) == [pair]
    assert len(kept(many[:10])) == 10
    assert kept(many[:3], AltFilter(repeated=2)) == []
    assert kept([AltText("a.jpg", "cat")], AltFilter(words=(1, 3))) == [AltText("a.jpg", "cat")]
