"""Anchors against torchvision's generator, slow loops and the counts of the notes."""

import pytest
import torch
from jaxtyping import TypeCheckError
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import _default_anchorgen

from tests.closeness import assert_close
from tests.references import boxes as slow
from vidi.ops.anchors import anchor_grid, anchor_pyramid, base_anchors, octave_sizes


def torchvision_anchors(generator: AnchorGenerator, canvas: tuple[int, int], cells: list[tuple[int, int]]):
    images = ImageList(torch.zeros(1, 3, *canvas), [canvas])
    return generator(images, [torch.zeros(1, 1, *size) for size in cells])[0]


@pytest.mark.system("4.3.2-ANCHORS")
def test_nine_defaults_with_the_area_of_their_size_and_the_ratio_height_to_width():
    anchors = base_anchors(dtype=torch.float64)
    w, h = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    assert (w * h).sqrt().tolist() == pytest.approx([128, 256, 512] * 3)
    assert (h / w).tolist() == pytest.approx([0.5] * 3 + [1] * 3 + [2] * 3)
    assert torch.equal(anchors[:, :2], -anchors[:, 2:])


@pytest.mark.system("4.3.2-ANCHORS")
def test_anchors_are_centred_on_their_cells():
    sizes, ratios = [32.0, 50.0], [0.5, 1.0, 3.0]
    anchors = anchor_grid(base_anchors(sizes, ratios, dtype=torch.float64), (3, 5), 16)
    expected = torch.tensor(slow.anchors(sizes, ratios, (3, 5), 16), dtype=torch.float64)
    assert_close(anchors, expected)


@pytest.mark.system("B4.16", "4.3.2-ANCHORS")
def test_counts_of_the_region_proposal_network_and_of_retinanet():
    assert len(anchor_grid(base_anchors(), (600 // 16, 1000 // 16), 16)) == 20_646
    cells = [100, 50, 25, 13, 7]
    bases = [base_anchors(octave_sizes(4 * stride)) for stride in (8, 16, 32, 64, 128)]
    assert len(anchor_pyramid(bases, [(n, n) for n in cells], [8, 16, 32, 64, 128])) == 120_087


@pytest.mark.system("4.3.2-ANCHORS")
@pytest.mark.parametrize("canvas", [(800, 800), (480, 672)])
def test_corner_anchors_are_torchvisions_retinanet(canvas):
    strides = (8, 16, 32, 64, 128)
    cells = [(-(-canvas[0] // s), -(-canvas[1] // s)) for s in strides]
    bases = [base_anchors(octave_sizes(4 * s, truncated=True), rounded=True) for s in strides]
    effective = [(canvas[0] // H, canvas[1] // W) for H, W in cells]  # 61, not 64, for 13 cells on 800 pixels
    ours = anchor_pyramid(bases, cells, effective, centre="corner")
    assert torch.equal(ours, torchvision_anchors(_default_anchorgen(), canvas, cells))


@pytest.mark.system("4.3.2-ANCHORS")
def test_corner_anchors_are_torchvisions_region_proposal_network():
    base = base_anchors((128, 256, 512), (0.5, 1.0, 2.0), rounded=True)
    ours = anchor_grid(base, (37, 62), (16, 16), centre="corner")
    assert torch.equal(ours, torchvision_anchors(AnchorGenerator(), (600, 1000), [(37, 62)]))


class Anchors(torch.nn.Module):
    def forward(self, features):
        return anchor_grid(base_anchors(), features.shape[-2:], 8)


def test_they_export_with_a_dynamic_height_and_width():
    sides = {2: torch.export.Dim("H", min=2, max=99), 3: torch.export.Dim("W", min=2, max=99)}
    program = torch.export.export(Anchors(), (torch.zeros(1, 1, 4, 6),), dynamic_shapes=(sides,), strict=False)
    assert torch.equal(program.module()(torch.zeros(1, 1, 7, 5)), anchor_grid(base_anchors(), (7, 5), 8))


def test_octaves_are_thirds_and_truncation_is_torchvisions():
    assert octave_sizes(32) == pytest.approx((32, 40.317474, 50.796834))
    assert octave_sizes(32, truncated=True) == (32, 40, 50)


def test_impossible_anchors_are_refused():
    with pytest.raises(ValueError, match="sizes"):
        base_anchors((), (1.0,))
    with pytest.raises(ValueError, match="aspect ratios"):
        base_anchors((32,), (1.0, -1.0))
    with pytest.raises(ValueError, match="2 bases, 1 feature sizes"):
        anchor_pyramid([base_anchors()] * 2, [(1, 1)], [8, 16])
    with pytest.raises((ValueError, TypeCheckError), match="middle"):  # the tests' hook comes first
        anchor_grid(base_anchors(), (1, 1), 8, centre="middle")  # pyright: ignore[reportArgumentType]
