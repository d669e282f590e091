"""Names in any script: by fonts made here, of squares, so that it does not matter which ones a machine has."""

import functools
import warnings

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable

from vidi.engine import plots
from vidi.ops import fonts
from vidi.ops.drawing import draw_tag, shortened
from vidi.ops.fonts import Run, default_path, font_of, readable, runs
from vidi.results import caption
from vidi.results.caption import MOST_LINES, broken, with_text

CAT, DOG, HIRAGANA, THAI, FACE, RACCOON = "猫", "犬", "い", "แ", "🫠", "🦝"
EM = 1000


def square(side):
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, side), (side, side), (side, 0)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()


def write_font(path, characters, side=800):
    """Write a font of which each character is a square on the line, `side` thousandths of its size."""
    builder = FontBuilder(EM, isTTF=True)
    names = {ord(character): f"u{ord(character):x}" for character in characters}
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf({name: square(side if name != ".notdef" else 100) for name in (".notdef", *names.values())})
    builder.setupHorizontalMetrics({name: (EM, 0) for name in (".notdef", *names.values())})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200)
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return str(path)


@pytest.fixture
def only(monkeypatch):
    """Let a machine have these fonts and no others."""

    def install(*paths):
        monkeypatch.setattr(fonts, "system_fonts", lambda: tuple(paths))
        monkeypatch.setattr(fonts, "_warned", set())
        for cached in (fonts.runs, fonts.readable, fonts.font_with):
            cached.cache_clear()

    yield install
    for cached in (fonts.runs, fonts.readable, fonts.font_with):
        cached.cache_clear()


def ink(text, size=40, **options):
    """Draw a text at (100, 100); return the corners x0 y0 x1 y1 of its pixels."""
    picture = PIL.Image.new("L", (500, 200), 0)
    PIL.ImageDraw.Draw(picture).text((100, 100), text, fill=255, font=font_of(size), **options)
    return picture.getbbox()


def test_what_the_default_font_has_is_drawn_as_before(only):
    only()
    plain = PIL.ImageFont.truetype(default_path(), 30)
    for text in ("raccoon", "Кошка", "ñandú Ω", "قطة", "a b"):
        assert runs(text) == (Run(text, default_path()),)
        assert font_of(30).getlength(text) == plain.getlength(text)
        for anchor in (None, "lm", "mm", "rs"):
            pictures = [PIL.Image.new("L", (300, 100), 0) for _ in range(2)]
            for picture, font in zip(pictures, (plain, font_of(30)), strict=True):
                PIL.ImageDraw.Draw(picture).text((150, 50), text, fill=255, font=font, anchor=anchor)
            assert np.array_equal(*map(np.asarray, pictures))  # pyright: ignore[reportArgumentType]


def test_a_text_is_one_run_of_the_first_font_that_has_it_all(only, tmp_path):
    other = write_font(tmp_path / "a.ttf", DOG)
    cjk = write_font(tmp_path / "b.ttf", CAT + HIRAGANA + "cat ")
    only(other, cjk)
    assert runs(CAT + HIRAGANA) == (Run(CAT + HIRAGANA, cjk),)
    assert runs(f"cat {CAT}") == (Run(f"cat {CAT}", cjk),)
    assert runs(f"dog {CAT}") == (Run("dog ", default_path()), Run(CAT, cjk))
    assert runs(CAT + DOG + HIRAGANA) == (Run(CAT, cjk), Run(DOG, other), Run(HIRAGANA, cjk))
    assert runs("") == ()


def test_fonts_named_for_the_script_and_plain_ones_come_first(only, tmp_path):
    names = ("A-Regular.ttf", "NotoThai-Bold.ttf", "NotoThai-Regular.ttf", "Thai.ttf", "NotoSerifX.ttf", "NotoX.ttf")
    paths = [write_font(tmp_path / name, THAI) for name in names]
    expected = ["NotoThai-Regular", "NotoThai-Bold", "Thai", "NotoX", "NotoSerifX", "A-Regular"]
    for left in range(len(paths)):
        only(*(path for path in paths if not any(f"/{name}.ttf" in path for name in expected[:left])))
        assert str(fonts.font_with(THAI)).endswith(f"{expected[left]}.ttf")


def test_damaged_fonts_and_those_of_blanks_are_left_out(only, tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    only(str(tmp_path / "bad.ttf"), write_font(tmp_path / "LastResort-Regular.ttf", RACCOON))
    with pytest.warns(UserWarning, match="no font on this machine"):
        assert readable(RACCOON) == "[raccoon]"


@pytest.mark.parametrize("table", fonts.COLOURED)
def test_fonts_of_pictures_have_no_outlines(tmp_path, table):
    path = write_font(tmp_path / "emoji.ttf", RACCOON)
    assert fonts.characters_of(path) == {ord(RACCOON)}
    fonts.characters_of.cache_clear()
    with TTFont(path) as font:
        data = newTable(table)
        data.compile = lambda ttFont: b"\0" * 8
        font[table] = data
        font.save(path)
    assert fonts.characters_of(path) == frozenset()
    fonts.characters_of.cache_clear()


def test_what_no_font_has_is_written_out_and_told_once(only):
    only()
    with pytest.warns(UserWarning, match="no font on this machine") as told:
        written = [readable(text) for text in (f"{CAT} {THAI} {RACCOON}", f"{DOG}{FACE}")]
    assert written == [r"\u732b \u0e41 [raccoon]", r"\u72ac[melting face]"]
    (warning,) = told
    assert str(warning.message) == (
        "no font on this machine has '猫' (CJK UNIFIED IDEOGRAPH-732B), it is written \\u732b; "
        "a font such as Noto Sans CJK has it (Debian and Ubuntu: apt install fonts-noto-cjk)"
    )


@pytest.mark.parametrize(
    ("character", "package"), [("い", "noto-cjk"), ("한", "noto-cjk"), (THAI, "noto-core"), (RACCOON, "symbola")]
)
def test_the_package_is_one_that_has_the_script(only, character, package):
    only()
    with pytest.warns(UserWarning, match=rf"apt install fonts-{package}\)"):
        readable(character)


def test_marks_that_show_nothing_are_kept_and_lines_are_joined(only):
    only()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert readable("a\nb\tc\u2028d") == "a b c d"
        assert readable("☺\ufe0f a\u200db") == "☺ a\u200db"
        assert shortened("two\nlines", font_of(12), 500) == "two lines"


def test_pixels_of_several_fonts_stand_side_by_side_on_one_line(only, tmp_path):
    cjk, thai = write_font(tmp_path / "cjk.ttf", CAT), write_font(tmp_path / "thai.ttf", THAI, side=400)
    only(cjk, thai)
    size, baseline = 40, 100 + font_of(40).getmetrics()[0]
    assert font_of(size).getlength(CAT + THAI) == 2 * size
    assert ink(CAT) == (100, baseline - 32, 132, baseline)  # a square of 0.8 em
    assert ink(CAT + THAI) == (100, baseline - 32, 156, baseline)  # and one of 0.4 em, an em further
    wide = font_of(size).getlength(f"x{CAT}")
    x0, _, x1, _ = ink(f"x{CAT}", anchor="ls")  # pyright: ignore[reportGeneralTypeIssues]
    assert 100 <= x0 <= 103
    assert x1 == 100 + round(wide - 40) + 32


@pytest.mark.parametrize(("anchor", "x", "y"), [("ls", 100, 100), ("rs", 20, 100), ("ms", 60, 100), ("ld", 100, 90)])
def test_anchors_move_the_whole_text(only, tmp_path, anchor, x, y):
    only(write_font(tmp_path / "cjk.ttf", CAT), write_font(tmp_path / "thai.ttf", THAI))
    ascent, descent = font_of(40).getmetrics()
    y = 100 - descent if anchor == "ld" else y
    assert ink(CAT + THAI, anchor=anchor) == (x, y - 32, x + 72, y)
    middle = ink(CAT + THAI, anchor="lm")
    assert middle == (100, middle[3] - 32, 172, 100 + int((ascent - descent) // 2))  # pyright: ignore[reportOptionalSubscript]
    assert font_of(40).getbbox(CAT + THAI, anchor="ls") == (0, -32, 80, 0)


def test_a_tag_is_as_wide_as_its_text(only, tmp_path):
    only(write_font(tmp_path / "cjk.ttf", CAT))
    picture = PIL.Image.new("RGB", (400, 300), "white")
    area = draw_tag(picture, (50, 100, 300, 250), CAT * 3, (0, 0, 0), [])
    assert area is not None
    assert area[2] - area[0] == 3 * 12 + 4  # letters of 12 pixels, and two of padding on each side


def test_plots_name_classes_in_any_script(only, tmp_path, monkeypatch):
    path = write_font(tmp_path / "squares.ttf", CAT)
    only(path)
    drawn = {}
    monkeypatch.setattr(plots.files, "write_image", lambda place, picture: drawn.update({place.name: picture}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.class_scores(tmp_path / "a.png", {CAT: 0.5, "$a_$": 0.2}, "AP")  # a dollar is no formula
    with pytest.warns(UserWarning, match=r"\[raccoon\]"):
        plots.class_scores(tmp_path / "b.png", {RACCOON: 0.5, "$a_$": 0.2}, f"AP {RACCOON}")
    only(path)
    with pytest.warns(UserWarning, match=r"\[raccoon\]"):
        plots.class_scores(tmp_path / "c.png", {"[raccoon]": 0.5, "$a_$": 0.2}, f"AP {RACCOON}")
    assert np.array_equal(*(np.asarray(drawn[name]) for name in ("b.png", "c.png")))  # pyright: ignore[reportArgumentType]
    assert not np.array_equal(*(np.asarray(drawn[name]) for name in ("a.png", "c.png")))  # pyright: ignore[reportArgumentType]


def test_families_of_a_figure_follow_its_texts(only, tmp_path):
    from matplotlib.figure import Figure

    only(write_font(tmp_path / "squares.ttf", CAT))
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([1, 2], [1, 100], label=f"a {CAT}")
    axes.set_yscale("log")
    axes.set_title(CAT)
    axes.legend()
    fonts.letter(figure)
    assert axes.title.get_fontfamily()[-1] == "squares"
    assert axes.get_legend().get_texts()[0].get_fontfamily()[-1] == "squares"  # pyright: ignore[reportOptionalMemberAccess]
    assert axes.xaxis.label.get_fontfamily() == Figure().text(0, 0, "x").get_fontfamily()
    assert all(label.get_parse_math() for label in axes.get_yticklabels() if "mathdefault" in label.get_text())


def test_system_fonts_are_looked_for_once():
    assert isinstance(fonts.system_fonts, functools._lru_cache_wrapper)
    assert default_path() in {*fonts.system_fonts(), default_path()}
    assert all(isinstance(path, str) for path in fonts.system_fonts())


@pytest.mark.parametrize("text", ["one two three four five six seven " * 4, "αβγδεζηθικ" * 12, "a " + "b" * 99])
def test_a_caption_is_broken_into_lines_that_fit(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between words; a word that is longer than a line, as all of a text without spaces, is broken itself."""
    font = font_of(16)
    lines = broken(text, font, 300)
    assert len(lines) > 2
    assert all(font.getlength(line) <= 300 for line in lines)
    if len(lines) < MOST_LINES:
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    longest = broken(50 * text, font, 300)
    monkeypatch.setattr(caption, "MOST_LINES", 1000)
    whole = broken(50 * text, font, 300)
    assert len(longest) == MOST_LINES == 10
    assert longest == [*whole[:9], whole[9][:-1] + "…"]
    assert longest[-1].endswith("…")
    assert font.getlength(longest[-1]) <= 300 + font.getlength("…")


def test_short_texts_and_none_are_a_line() -> None:
    assert broken("two  words", font_of(16), 300) == ["two words"]
    assert broken(" ", font_of(16), 300) == []


def test_a_caption_is_below_its_picture_in_lines_of_the_font() -> None:
    picture = PIL.Image.new("RGB", (480, 300), "red")
    font = font_of(20)  # a 24th of the width
    text = "one two three four five six seven " * 4
    sheet = with_text(picture, text)
    lines = broken(text, font, 480 - 10)
    assert sheet.size == (480, 300 + len(lines) * sum(font.getmetrics()) + 10)
    assert sheet.crop((0, 0, 480, 300)).tobytes() == picture.tobytes()
    below = np.asarray(sheet.crop((0, 300, 480, sheet.height)).convert("L"))
    ink = below < 128
    columns = np.flatnonzero(ink.sum(0))
    assert columns.min() >= 4  # a quarter of the font's size is left free on either side
    assert columns.max() < 480 - 4
    height = sum(font.getmetrics())
    assert all(ink[row * height : (row + 1) * height].any() for row in range(len(lines)))
    assert not ink[len(lines) * height :].any()
    narrow = with_text(PIL.Image.new("RGB", (250, 1000), "red"), "word")
    assert narrow.size == (250, 1000 + sum(font_of(14).getmetrics()) + 7)
