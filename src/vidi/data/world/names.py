"""The vocabulary of the world: categories, splits, joints, body parts, colours, patterns and grounds.

Every index that occurs in a ground truth is a position in one of these tuples.
"""

SPLITS = ("train", "val", "test")

CATEGORIES = ("sphere", "box", "cylinder", "cone", "person")
SEMANTIC_CATEGORIES = (*CATEGORIES, "ground", "sky")
PERSON = CATEGORIES.index("person")
GROUND = SEMANTIC_CATEGORIES.index("ground")
SKY = SEMANTIC_CATEGORIES.index("sky")

JOINTS = (
    "head",
    "neck",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)

# Pairs of joints that a bone connects.
SKELETON = (
    (0, 1),
    (1, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
    (5, 7),
    (1, 8),
    (1, 9),
    (8, 10),
    (9, 11),
    (10, 12),
    (11, 13),
)

# Part j < 14 is the surface around joint j; the others lie between joints. Left and right are the person's own.
PARTS = (
    *JOINTS,
    "torso",
    "left_upper_arm",
    "right_upper_arm",
    "left_forearm",
    "right_forearm",
    "left_thigh",
    "right_thigh",
    "left_shin",
    "right_shin",
)
NO_PART = len(PARTS)

# What changes places when an image is mirrored.
JOINT_PAIRS = ((2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13))
PART_PAIRS = (*JOINT_PAIRS, (15, 16), (17, 18), (19, 20), (21, 22))

# Reflectance of each named colour, linear RGB in [0, 1].
COLOURS = {
    "red": (0.86, 0.10, 0.10),
    "orange": (0.98, 0.48, 0.06),
    "yellow": (0.98, 0.84, 0.12),
    "green": (0.12, 0.62, 0.20),
    "turquoise": (0.08, 0.72, 0.70),
    "blue": (0.10, 0.28, 0.86),
    "purple": (0.48, 0.16, 0.72),
    "pink": (0.98, 0.48, 0.70),
    "brown": (0.44, 0.25, 0.12),
    "white": (0.94, 0.94, 0.92),
    "black": (0.13, 0.13, 0.15),
}
COLOUR_NAMES = tuple(COLOURS)

# The last pattern paints hair and eyes on a head; things have one of the others.
PATTERNS = ("plain", "striped", "checked", "dotted", "marbled", "face")
THING_PATTERNS = PATTERNS[:-1]

# Light and dark shade of each ground.
GROUNDS = {
    "grass": ((0.50, 0.66, 0.30), (0.22, 0.42, 0.14)),
    "sand": ((0.90, 0.78, 0.56), (0.64, 0.50, 0.32)),
    "asphalt": ((0.60, 0.60, 0.62), (0.32, 0.33, 0.36)),
    "soil": ((0.66, 0.48, 0.34), (0.38, 0.25, 0.17)),
    "snow": ((0.95, 0.96, 1.00), (0.68, 0.73, 0.82)),
}
GROUND_NAMES = tuple(GROUNDS)
