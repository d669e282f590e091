"""What the colours of pictures are scored by, and the mosaic of a training."""

from pathlib import Path

import PIL.Image
import pytest
import torch

from vidi.results.categories import Categories
from vidi.results.coloured_picture import ColouredPicture
from vidi.tasks.colourisation import ColourScorer


def test_scores_are_means_over_pictures_and_the_first_eight_are_shown(tmp_path: Path) -> None:
    """An error of 0.1 everywhere is 20 dB, one of 0.01 is 40: the means of eight and two are 24 and 0.082."""
    scorer = ColourScorer(Categories(()))
    given = torch.full((3, 20, 30), 0.4)
    far = [ColouredPicture(given + 0.1, given)] * 4
    near = ColouredPicture(given + 0.01, given)
    scorer.update(far, [{}] * 4)
    scorer.update([*far, near, near], [{}] * 6)
    assert scorer.compute() == pytest.approx({"psnr": 24.0, "error": 0.082}, rel=1e-5)
    assert [result.error for result in scorer.shown] == [far[0].error] * 8
    scorer.write_plots(tmp_path)
    with PIL.Image.open(tmp_path / "mosaic.png") as sheet:
        assert sheet.width > 6 * 30  # two columns of three pictures, enlarged
        colours = {colour for _, colour in sheet.getcolors(sheet.width * sheet.height) or []}
    assert {(102, 102, 102), (127, 127, 127)} <= colours
