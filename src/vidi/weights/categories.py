"""The categories of data sets that many weights were trained on, as torchvision lists them."""

from vidi.results.categories import Categories


def imagenet_categories() -> Categories:
    """Return the names of the 1,000 classes of ImageNet-1k, in the usual order."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def coco_categories() -> Categories:
    """Return the names of COCO's ids 0 to 90; None for the background at 0 and the ten ids that are not used."""
    from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights

    names = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    return tuple(None if name in ("__background__", "N/A") else name for name in names)


def coco_ids() -> Categories:
    """Return the names of COCO's ids 1 to 90; None for the ten that are not used."""
    return coco_categories()[1:]


def coco_used() -> Categories:
    """Return the names of the 80 ids of COCO that are used."""
    return tuple(name for name in coco_categories() if name is not None)
