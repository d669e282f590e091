"""k-means on box sizes by slow loops."""

Size = tuple[float, float]


def size_iou(a: Size, b: Size) -> float:
    overlap = min(a[0], b[0]) * min(a[1], b[1])
    return overlap / (a[0] * a[1] + b[0] * b[1] - overlap)


def lloyd(sizes: list[Size], centroids: list[Size]) -> tuple[list[int], list[Size], float]:
    """Give the assignment, the means of the clusters (which must not be empty), and the mean IoU before the move."""
    overlaps = [[size_iou(size, centroid) for centroid in centroids] for size in sizes]
    assignment = [row.index(max(row)) for row in overlaps]
    means = []
    for j in range(len(centroids)):
        members = [size for size, label in zip(sizes, assignment, strict=True) if label == j]
        means.append((sum(w for w, _ in members) / len(members), sum(h for _, h in members) / len(members)))
    return assignment, means, sum(map(max, overlaps)) / len(sizes)
