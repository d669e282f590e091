"""Compiled loops of COCO's evaluation: one sort of the predictions, one walk per class, one sweep per curve.

pycocotools groups by (class, image), matches each group, and sorts the concatenated groups of a class again. Greedy
matching within an image needs only that an image's predictions come in descending score, and the curve of a class needs
all of them so: walking a class once in the order of the curve serves both, and no group is ever built.

Tables of small flags are packed into integers: bit `area * thresholds + threshold` of each.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

from vidi.ops.mask_kernels import box_area_shared, shared_pixels

ALL_BUT_SIGN = np.int64(0x7FFFFFFFFFFFFFFF)
EPSILON = np.spacing(1.0)
BITS = 11  # of a radix pass over scores: the histogram stays in the first-level cache


class Candidates(NamedTuple):
    """The truths that a prediction may take: prediction p of the walk has the rows starts[p]..starts[p + 1]."""

    starts: np.ndarray  # int64 P+1
    truths: np.ndarray  # int32 C, rows of the truths sorted by class and image
    overlaps: np.ndarray  # float64 C, at least the lowest threshold


class Outcome(NamedTuple):
    """What became of each prediction, in the order of the walk."""

    rank: np.ndarray  # int32 P, among those of its class and image
    beyond: np.ndarray  # int8 P, the bits of area ranges that it lies outside of
    matched: np.ndarray  # int64 P, the bits (area, threshold) at which it has a truth
    to_ignored: np.ndarray  # int64 P, those of them at which this truth is ignored


@njit(cache=True)
@no_type_check
def stable_pass(keys, order, ends):
    """Give `order` by `keys` (0..len(ends)-1), equal keys as they stand; `ends` becomes where each key's run ends."""
    ends[:] = 0
    for key in keys:
        ends[key] += 1
    total = 0
    for key in range(len(ends)):
        count = ends[key]
        ends[key] = total
        total += count
    out = np.empty_like(order)
    for i in order:
        out[ends[keys[i]]] = i
        ends[keys[i]] += 1
    return out


@njit(cache=True)
@no_type_check
def order_by_image(image, images):
    """Give the stable order of rows by image; their own order where they already are."""
    order = np.arange(len(image)).astype(np.int32)
    for i in range(1, len(image)):
        if image[i] < image[i - 1]:
            return stable_pass(image, order, np.empty(images, np.int64))
    return order


@njit(cache=True)
@no_type_check
def order_by_class_and_image(category, image, categories, images):
    """Give the stable order of rows by class, then image, and where each class starts (one more than classes)."""
    starts = np.zeros(categories + 1, np.int64)
    return stable_pass(category, order_by_image(image, images), starts[1:]), starts


@njit(cache=True)
@no_type_check
def order_by_class_and_score(category, image, scores, categories, images):
    """Give the order of rows by class, then falling score, ties by image, then as they stand; and where classes start.

    Radix sort, last key first: image, the score's 64 bits in passes, class. `scores` must not hold -0.0.
    """
    order = order_by_image(image, images)
    keys = scores.view(np.int64).copy()  # as unsigned numbers these shall rise where scores fall
    for i in range(len(keys)):
        if keys[i] >= 0:
            keys[i] ^= ALL_BUT_SIGN
    ends = np.empty(1 << BITS, np.int64)
    digits = np.empty(len(keys), np.int32)
    for shift in range(0, 64, BITS):
        alike = True
        for i in range(len(keys)):
            digits[i] = (keys[i] >> shift) & ((1 << BITS) - 1)
            alike &= digits[i] == digits[0]
        if not alike:  # scores that were float32 share their low bits
            order = stable_pass(digits, order, ends)
    starts = np.zeros(categories + 1, np.int64)
    return stable_pass(category, order, starts[1:]), starts


@njit(cache=True)
@no_type_check
def rank_and_range(order, starts, image, truth_starts, truth_image, images, limit):
    """Give each prediction of the walk its rank in its class and image, and the range of truths there.

    The range first..last-1 is empty for ranks from `limit` on: they are not matched.
    """
    rank = np.empty(len(order), np.int32)
    ranges = np.zeros((len(order), 2), np.int32)
    seen = np.zeros(images, np.int32)
    truths_of_image = np.zeros((images, 2), np.int32)
    for k in range(len(starts) - 1):
        for j in range(truth_starts[k], truth_starts[k + 1]):
            if truths_of_image[truth_image[j], 1] == 0:
                truths_of_image[truth_image[j], 0] = j
            truths_of_image[truth_image[j], 1] = j + 1
        for p in range(starts[k], starts[k + 1]):
            i = image[order[p]]
            rank[p] = seen[i]
            seen[i] += 1
            if rank[p] < limit and truths_of_image[i, 1] > 0:
                ranges[p, 0] = truths_of_image[i, 0]
                ranges[p, 1] = truths_of_image[i, 1]
        for p in range(starts[k], starts[k + 1]):
            seen[image[order[p]]] = 0
        for j in range(truth_starts[k], truth_starts[k + 1]):
            truths_of_image[truth_image[j], 1] = 0
    return rank, ranges


@njit(cache=True, error_model="numpy")
@no_type_check
def box_candidates(order, ranges, boxes, sizes, truth_boxes, truth_sizes, crowd, least):
    """List the truths that each prediction overlaps by at least `least`, by boxes (xyxy) and sizes (width, height).

    The operations and their order are pycocotools', so that overlaps are equal to the last bit.
    """
    pairs = (ranges[:, 1] - ranges[:, 0]).sum()
    candidates = Candidates(np.zeros(len(order) + 1, np.int64), np.empty(pairs, np.int32), np.empty(pairs))
    starts, truths, overlaps = candidates
    count = 0
    for p in range(len(order)):
        if ranges[p, 1] > 0:
            i = order[p]
            area = sizes[i, 0] * sizes[i, 1]
            for j in range(ranges[p, 0], ranges[p, 1]):
                width = min(boxes[i, 2], truth_boxes[j, 2]) - max(boxes[i, 0], truth_boxes[j, 0])
                height = min(boxes[i, 3], truth_boxes[j, 3]) - max(boxes[i, 1], truth_boxes[j, 1])
                if width <= 0 or height <= 0:
                    continue
                shared = width * height
                whole = area if crowd[j] else area + truth_sizes[j, 0] * truth_sizes[j, 1] - shared
                if shared / whole >= least:
                    truths[count] = j
                    overlaps[count] = shared / whole
                    count += 1
        starts[p + 1] = count
    return candidates


@njit(cache=True)
@no_type_check
def mask_candidates(order, ranges, masks, truth_masks, crowd, least):
    """List the truths that each prediction overlaps by at least `least`, by masks (`vidi.ops.masks.Runs`).

    The pixel boxes and areas bound the overlap; runs are compared only where the bound reaches `least`.
    """
    pairs = (ranges[:, 1] - ranges[:, 0]).sum()
    candidates = Candidates(np.zeros(len(order) + 1, np.int64), np.empty(pairs, np.int32), np.empty(pairs))
    starts, truths, overlaps = candidates
    _, _, areas, boxes, _, _ = masks
    _, _, truth_areas, truth_boxes, _, _ = truth_masks
    count = 0
    for p in range(len(order)):
        i = order[p]
        for j in range(ranges[p, 0], ranges[p, 1]):
            both = areas[i] + truth_areas[j]
            bound = min(box_area_shared(boxes[i], truth_boxes[j]), areas[i], truth_areas[j])
            if bound == 0 or bound / (areas[i] if crowd[j] else both - bound) < least:
                continue
            shared = shared_pixels(masks, i, truth_masks, j)
            overlap = shared / (areas[i] if crowd[j] else both - shared)
            if overlap >= least:
                truths[count] = j
                overlaps[count] = overlap
                count += 1
        starts[p + 1] = count
    return candidates


@njit(cache=True)
@no_type_check
def outside(areas, limits):
    """Give the bits of the area ranges (`limits` A 2, both inside) that each area lies outside of."""
    bits = np.zeros(len(areas), np.int8)
    for i in range(len(areas)):
        for a in range(len(limits)):
            if areas[i] < limits[a, 0] or areas[i] > limits[a, 1]:
                bits[i] |= 1 << a
    return bits


@njit(cache=True)
@no_type_check
def match(candidates, thresholds, areas, ignored, crowd):
    """Match the predictions in the order of the walk, each at every threshold and area range.

    `ignored` has the bits of area ranges in which a truth does not count. Gives per prediction the bits (area,
    threshold) at which it has a truth, and those of them at which that truth is ignored.
    """
    starts, truths, overlaps = candidates
    matched = np.zeros(len(starts) - 1, np.int64)
    to_ignored = np.zeros(len(starts) - 1, np.int64)
    taken = np.zeros(len(ignored), np.int64)
    for p in range(len(matched)):
        first, last = starts[p], starts[p + 1]
        if first == last:
            continue
        for area in range(areas):
            for t in range(len(thresholds)):
                bit = area * len(thresholds) + t
                best = choose(truths, overlaps, first, last, thresholds[t], area, False, bit, ignored, crowd, taken)
                if best < 0:
                    best = choose(truths, overlaps, first, last, thresholds[t], area, True, bit, ignored, crowd, taken)
                    if best < 0:
                        continue
                    to_ignored[p] |= 1 << bit
                matched[p] |= 1 << bit
                taken[best] |= 1 << bit
    return matched, to_ignored


@njit(cache=True)
@no_type_check
def choose(truths, overlaps, first, last, threshold, area, of_ignored, bit, ignored, crowd, taken):
    """Give the truth of greatest overlap, of equals the last, that is free or a crowd; -1 if none reaches `threshold`.

    COCO looks at the truths that count first, and at the ignored ones only where none of them serves.
    """
    best = -1
    for c in range(first, last):
        truth = truths[c]
        if overlaps[c] < threshold or (ignored[truth] >> area) & 1 != of_ignored:
            continue
        if (taken[truth] >> bit) & 1 and not crowd[truth]:
            continue
        threshold = overlaps[c]
        best = truth
    return best


@njit(cache=True)
@no_type_check
def count_positives(truth_starts, ignored, areas):
    """Count the truths of each class that are not ignored in each area range: K A."""
    positives = np.zeros((len(truth_starts) - 1, areas), np.int64)
    for k in range(len(positives)):
        for j in range(truth_starts[k], truth_starts[k + 1]):
            for area in range(areas):
                positives[k, area] += not (ignored[j] >> area) & 1
    return positives


@njit(cache=True)
@no_type_check
def accumulate(starts, scores, outcome, positives, limits, thresholds, levels, precision, recall, score_at):
    """Fill precision and score K A M T R and recall K A M T (preset to -1) where a class has `positives` K A.

    Most predictions match nothing at any threshold: they are false, or ignored where they lie outside the area range,
    at all thresholds alike. A first sweep counts them and lists the others; each threshold sweeps the short list only.
    """
    longest = 0
    for k in range(len(starts) - 1):
        longest = max(longest, starts[k + 1] - starts[k])
    listed = np.empty(longest, np.int64)
    false_before = np.empty(longest, np.int64)
    hits = np.empty((longest, 2))
    for k in range(len(starts) - 1):
        for area in range(positives.shape[1]):
            if positives[k, area] == 0:
                continue
            for m in range(len(limits)):
                count, top = list_matched(outcome, starts[k], starts[k + 1], area, limits[m], listed, false_before)
                for t in range(len(thresholds)):
                    bit = area * len(thresholds) + t
                    found = sweep(outcome, scores, listed, false_before, count, area, bit, hits)
                    recall[k, area, m, t] = found / positives[k, area]
                    sample(hits, found, positives[k, area], levels, precision[k, area, m, t], score_at[k, area, m, t])
                    if top >= 0:  # level 0, which the first prediction reaches whatever became of it
                        score_at[k, area, m, t, 0] = scores[top]


@njit(cache=True)
@no_type_check
def list_matched(outcome, start, end, area, limit, listed, false_before):
    """List the predictions of rank below `limit` that match at some threshold, each with the false ones before it.

    Gives their number, and the first prediction of such rank whatever became of it (-1: none).
    """
    count = 0
    false = 0
    top = -1
    for p in range(start, end):
        if outcome.rank[p] >= limit:
            continue
        if top < 0:
            top = p
        if outcome.matched[p]:
            listed[count] = p
            false_before[count] = false
            count += 1
        elif not (outcome.beyond[p] >> area) & 1:
            false += 1
    return count, top


@njit(cache=True)
@no_type_check
def sweep(outcome, scores, listed, false_before, count, area, bit, hits):
    """Write precision and score at each true positive of one curve into the rows of `hits`; give their number."""
    found = 0
    false = 0
    for c in range(count):
        p = listed[c]
        if (outcome.to_ignored[p] >> bit) & 1:
            continue
        if (outcome.matched[p] >> bit) & 1:
            found += 1
            hits[found - 1, 0] = found / (float(false + false_before[c] + found) + EPSILON)
            hits[found - 1, 1] = scores[p]
        elif not (outcome.beyond[p] >> area) & 1:
            false += 1
    return found


@njit(cache=True)
@no_type_check
def sample(hits, found, positives, levels, precision, score_at):
    """Read the envelope of one curve, and the score that reaches it, at the recall `levels`; 0 beyond its end.

    Precision rises at true positives only, so they alone carry the envelope.
    """
    for h in range(found - 2, -1, -1):
        hits[h, 0] = max(hits[h, 0], hits[h + 1, 0])
    h = 0
    for r in range(len(levels)):
        while h < found and (h + 1) / positives < levels[r]:
            h += 1
        precision[r] = hits[h, 0] if h < found else 0.0
        score_at[r] = hits[h, 1] if h < found else 0.0
