"""The categories of data sets that many weights were trained on, as torchvision and the data sets list them."""

from vidi.results.categories import Categories

ADE20K = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, earth, door,
table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard,
chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway,
case, pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower,
book, hill, bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, arcade machine,
hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane,
dirt track, apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher,
screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
monitor, bulletin board, shower, radiator, glass, clock, flag
"""


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


def ade20k_categories() -> Categories:
    """Return the names of the 150 classes of ADE20K's challenge of scene parsing (Zhou et al. 2017), in its order."""
    return tuple(name for line in ADE20K.strip().splitlines() for name in line.rstrip(",").split(", "))
