"""The page of pictures."""

import numpy as np
import pytest

from vidi.data.world.gallery import CELL, HEADINGS, gallery


def test_the_page_has_a_row_for_each_scene_and_a_picture_in_each_cell():
    page = np.asarray(gallery(0, rows=2))
    assert page.shape[0] > 2 * CELL
    assert page.shape[1] > len(HEADINGS) * CELL
    for row in range(2):
        for column in range(len(HEADINGS)):
            top, left = 24 + row * (CELL + 32), 6 + column * (CELL + 6)
            assert page[top : top + CELL, left : left + CELL].std() > 3
    assert not np.array_equal(page, np.asarray(gallery(1, rows=2)))


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        gallery(0, rows=0)
