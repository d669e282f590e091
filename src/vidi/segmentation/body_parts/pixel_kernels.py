"""Compiled loops over the pixels of one depth image: tables of features, and trees that compute theirs on the fly."""

from typing import no_type_check

from numba import njit

from vidi.segmentation.body_parts.growing_kernels import compare_depths, depth_at


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def tabulate(depth, pixels, scales, thetas, features):
    """Write all features (P F) of some pixels (P 2: row, column)."""
    cells, frame = depth.ravel(), (0, depth.shape[0], depth.shape[1])
    for k in range(len(pixels)):
        for f in range(len(thetas)):
            y, x = pixels[k, 0] + 0.5, pixels[k, 1] + 0.5
            features[k, f] = compare_depths(cells, frame, y, x, scales[k], thetas[f])


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def descend(depth, pixels, scales, nodes, roots, leaves, total):
    """Add to `total` (P K) the distributions of the leaves that pixels fall into, tree by tree.

    nodes: records of u, v, threshold and left child; in a leaf `left` is -1 - its row of `leaves` (L K).
    """
    cells, height, width = depth.ravel(), depth.shape[0], depth.shape[1]
    for root in roots:
        for k in range(len(pixels)):
            y, x, scale = pixels[k, 0] + 0.5, pixels[k, 1] + 0.5, scales[k]
            node = nodes[root]
            while node.left >= 0:
                first = depth_at(cells, 0, height, width, y + node.uy * scale, x + node.ux * scale)
                second = depth_at(cells, 0, height, width, y + node.vy * scale, x + node.vx * scale)
                node = nodes[node.left + (1 if first - second > node.threshold else 0)]
            leaf, own = leaves[-1 - node.left], total[k]
            for c in range(len(own)):
                own[c] += leaf[c]
