"""One list of classes for all splits of a data set, whatever format it has: that of the training, by name.

Labels follow the names: a split that numbers its classes differently is numbered anew, and two numbers of one name are
one class; both are remarked. Objects of a class that the training does not have are faults, as `vidi eval` refuses a
data set with categories that a model does not know.
"""

from collections.abc import Sequence

import numpy as np

from vidi.data.faults import Fault
from vidi.data.readers.image_set import ImageSet
from vidi.data.readers.selection import Selection

SHOWN = 10


def by_name(dataset: ImageSet, training: Sequence[str]) -> ImageSet:
    """Return a data set with the labels of the `training` classes, without images of other ones, which are its faults.

    A data set that numbers its classes like the training is returned as it is.
    """
    own, names = dataset.categories, tuple(dict.fromkeys(training))
    if own == names:
        return dataset
    label_of = {name: label for label, name in enumerate(names)}
    labels = np.array([label_of.get(name, -1) for name in own], dtype=np.int64)
    images = [np.unique(labels_of, return_counts=True) for labels_of in _labels(dataset)]
    rows = np.array([bool((labels[shown] >= 0).all()) for shown, _ in images], dtype=bool)
    objects, pictures = np.zeros(len(own), dtype=np.int64), np.zeros(len(own), dtype=np.int64)
    for shown, counts in images:
        objects[shown] += counts
        pictures[shown] += 1
    faults, remarks, place = [], [], str(dataset.root)
    known = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    for label in np.flatnonzero(labels < 0).tolist():
        where, unknown = f"class {own[label]!r}", f"is none of the training, whose classes are {known}"
        if objects[label]:
            faults.append(Fault(place, where, f"{unknown}; objects: {objects[label]}, pictures: {pictures[label]}"))
        else:
            remarks.append(Fault(place, where, f"{unknown}; no object has it"))
    remarks += [
        Fault(place, f"class {name!r}", f"stands {own.count(name)} times in the list of classes: it is taken as one")
        for name in dict.fromkeys(own)
        if own.count(name) > 1
    ]
    if any(label_of.get(name, label) != label for label, name in enumerate(dict.fromkeys(own))):
        remarks.append(Fault(place, "", "numbers the classes in its own way: labels follow the names of the training"))
    return Selection(dataset, np.flatnonzero(rows), faults=faults, remarks=remarks, categories=names, labels=labels)


def _labels(dataset: ImageSet) -> list[np.ndarray]:
    """Return the labels of each image, without decoding anything else."""
    asked = dataset.giving(("label", "labels"))
    targets = (asked.target(index) for index in range(len(asked)))
    return [np.atleast_1d(target["labels"] if "labels" in target else target["label"]) for target in targets]
