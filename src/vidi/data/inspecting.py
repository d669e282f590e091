"""What only shows when pictures are opened: damaged files, other sizes than annotated, boxes that cannot be meant.

Everything is decoded once, as a training will decode it, before the first step: one pass over the files, in threads. A
fault is found with all the others and not after a night, and which images a training walks is settled when it begins:
a function of the files alone, the same for every process, for a resumed run, and whatever the number of threads. What
breaks later than that is an error, also where faults are dropped, because leaving it out would change the order of
all that follows.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vidi.data.box_rules import BoxCounts
from vidi.data.faults import DataFaults, Fault
from vidi.data.readers.image_set import ImageSet
from vidi.data.readers.selection import Selection


def inspected(dataset: ImageSet) -> tuple[ImageSet, BoxCounts]:
    """Return the images of a data set that can be used, with what was found wrong with the others as its faults.

    Besides, the boxes of the images that can be used are counted. Raises DataFaults where no image is left.
    """
    with ThreadPoolExecutor(threads()) as pool:
        found = list(pool.map(lambda index: _look(dataset, index), range(len(dataset))))
    counts = sum((each for each in found if isinstance(each, BoxCounts)), BoxCounts())
    faults = [each for each in found if isinstance(each, Fault)]
    place = str(dataset.root)
    faults += counts.faults(place)
    usable = np.array([isinstance(each, BoxCounts) and not (counts.are_fractions and each.boxes) for each in found])
    if faults and not usable.any():
        raise DataFaults(dataset.root, (*dataset.faults, *faults))
    given = Selection(dataset, np.flatnonzero(usable), faults=faults, remarks=counts.remarks(place))
    return given, BoxCounts() if counts.are_fractions else counts


def _look(dataset: ImageSet, index: int) -> BoxCounts | Fault:
    try:
        _, target = dataset[index]
    except (ValueError, OSError) as error:
        return Fault.of(dataset.name(index), error)
    return BoxCounts.of(target)


def threads() -> int:
    """Return this process's share of the machine's processors, at most 16."""
    share = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(16, share))
