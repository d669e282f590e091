"""Depth as points in space, each with the colour of its pixel, in the format PLY.

Turk 1994, The PLY Polygon File Format: a header of text, then the vertices, here binary with the lowest byte first.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vidi.ops.camera import straight_camera
from vidi.ops.warp import back_project

VERTEX = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])
MOST_POINTS = 2_000_000  # 30 megabytes


def point_cloud(
    depth: Float[Tensor, "H W"],
    valid: Bool[Tensor, "H W"],
    colours: UInt8[Tensor, "3 H W"],
    *,
    focal: float,
    comments: Sequence[str] = (),
) -> bytes:
    """Return the points that the valid pixels show, as a PLY file: x to the right, y down, z away from the camera.

    Of a picture with more than `MOST_POINTS` pixels, every second, third ... row and column.

    Args:
        depth: z of each pixel, in any unit.
        valid: the pixels that become points.
        colours: of the pixels.
        focal: in pixels of this picture, whose middle the camera looks at.
        comments: lines for the header.
    """
    H, W = depth.shape
    step = next(n for n in range(1, max(H, W) + 1) if -(-H // n) * -(-W // n) <= MOST_POINTS)
    points = back_project(depth[None, None].float(), straight_camera(focal, (H, W))[None])[0]  # 3 H W
    chosen = valid[::step, ::step].numpy()
    vertices = np.empty(int(chosen.sum()), VERTEX)
    for names, values in (("xyz", points), (("red", "green", "blue"), colours)):
        for name, plane in zip(names, values[:, ::step, ::step].numpy(), strict=True):
            vertices[name] = plane[chosen]
    kinds = {"<f4": "float", "|u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in comments),
        f"element vertex {len(vertices)}",
        *(f"property {kinds[VERTEX[name].str]} {name}" for name in VERTEX.names or ()),
        "end_header\n",
    ]
    return "\n".join(header).encode("ascii") + vertices.tobytes()
