"""Arguments that make systems small enough for the contract tests."""

SMALL_IMAGE = {"categories": 3, "size": (64, 64), "width": 16}
SMALL_CIFAR = {"categories": 3}
SMALL_SCALED = {"categories": 3, "size": (64, 64), "width": 0.25}
SMALL_DEEP = {"categories": 3, "size": (64, 64), "width": 0.125}
SMALL_HUGE = {"categories": 3, "size": (64, 64), "width": 0.05}
SMALL_PLAIN = {"categories": 3, "size": (64, 64), "width": 16, "hidden": 32}
SMALL_VGG = {**SMALL_PLAIN, "dropout": 0.0}
SMALL_INCEPTION = {"categories": 3, "size": (64, 64), "stem": "small", "width": 8}
SMALL_INCEPTION_RESNET = {**SMALL_INCEPTION, "blocks": (1, 1, 2)}
SMALL_BIT = {"categories": 3, "size": (64, 64), "width": 32}
SMALL_VIT = {"categories": 3, "size": (64, 64), "patch": 16, "width": 32, "depth": 2, "heads": 2}
SMALL_SWIN = {
    "categories": 3,
    "size": (64, 64),
    "side": 4,
    "width": 16,
    "depths": (2, 2),
    "heads": (1, 2),
    "drop_path": 0.0,
}
SMALL_DARKNET = {"categories": 3, "size": (64, 64), "width": 4}
SMALL_ANYNET = {"categories": 3, "size": (32, 32)}
SMALL_STAGES = {"categories": 3, "low": (16, 16), "high": (32, 32)}
SMALL_DETECTOR = {"categories": 3, "size": (64, 64), "channels": 32, "head_depth": 1}
SMALL_CASCADE = {
    "categories": ("background", "face"),
    "window": (12, 12),
    "stages": 2,
    "candidates": 50,
    "negatives": 40,
    "copies": 2,
}
SMALL_TWO_STAGE = {"categories": 3, "size": (64, 64), "channels": 32, "hidden": 32, "proposals": 30, "sampled": 32}
SMALL_MASKS = {**SMALL_TWO_STAGE, "mask_channels": 16, "mask_depth": 1, "detections_per_image": 20}
SMALL_KEYPOINTS = {**SMALL_TWO_STAGE, "keypoint_channels": 16, "keypoint_depth": 1, "detections_per_image": 20}
SMALL_SINGLE_MAP = {
    "categories": 3,
    "size": (64, 64),
    "width": 16,
    "proposals": 10,
    "sampled": 8,
    "anchor_sizes": (16, 32, 64),
}
SMALL_LOCALIZER = {"categories": 3, "size": (64, 64), "width": 16, "hidden": 16}
SMALL_SLIDING = {"categories": 3, "size": (64, 64), "width": 8, "hidden": 16}
SMALL_RCNN = {"categories": 3, "size": (64, 64), "width": 16, "proposals": 20, "sampled": 16}
SMALL_RCNN_ALEXNET = {
    "categories": 3,
    "size": (64, 64),
    "width": 8,
    "hidden": 16,
    "crop": (67, 67),
    "context": 4,
    "proposals": 5,
    "sampled": 4,
}
SMALL_FAST = {"categories": 3, "size": (64, 64), "width": 16, "hidden": 32, "window_sizes": (16, 32)}
SMALL_CENTERNET = {"categories": 3, "size": (64, 64), "channels": (32, 32, 32), "hidden": 16}
HANDS = {"jointed": (), "joints": ("head", "left_hand", "right_hand"), "bones": ((0, 1), (0, 2))}
FACES = {"jointed": (), "joints": ("left_eye", "right_eye", "nose"), "bones": ()}
SMALL_SSD = {"categories": 3, "size": (64, 64), "width": 16, "detections_per_image": 20}
SHALLOW_EFFICIENTDET = {**SMALL_SCALED, "channels": 16, "repeats": 1, "head_depth": 1}
SMALL_EFFICIENTDET = {**SMALL_SCALED, "channels": 16, "drop": 0.0}
SMALL_DETR = {
    "categories": 3,
    "size": (64, 64),
    "queries": 8,
    "width": 16,
    "hidden": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "dropout": 0.0,
}
SMALL_PANOPTIC_FPN = {
    "categories": 7,
    "things": 5,
    "size": (64, 64),
    "channels": 32,
    "hidden": 32,
    "mask_channels": 16,
    "mask_depth": 1,
    "stuff_channels": 32,
    "proposals": 30,
    "sampled": 32,
    "detections_per_image": 20,
}
SMALL_MASKS_OF_CLASSES = {
    "categories": 7,
    "size": (64, 64),
    "queries": 8,
    "backbone_width": 16,
    "width": 32,
    "hidden": 16,
    "layers": 2,
    "dropout": 0.0,
}
SMALL_MASKS_AT_POINTS = {**SMALL_MASKS_OF_CLASSES, "pixel_layers": 1, "pixel_hidden": 16, "points": 128}
SMALL_MASKS_OF_THINGS = {**SMALL_MASKS_AT_POINTS, "categories": 3}
SMALL_MASKFORMER = {**SMALL_MASKS_OF_CLASSES, "things": 5}
SMALL_MASK2FORMER = {**SMALL_MASKS_AT_POINTS, "things": 5}
NARROW_SWIN = {"backbone_width": 48}  # a multiple of the heads of all sizes
SMALL_SENTENCES = {"width": 16, "heads": 2, "hidden": 16, "layers": 1, "dropout": 0.0}
SMALL_RECURRENT = {"width": 16, "hidden": 16}
SMALL_PATCHES = {"categories": 3, "width": 4, "stages": 2, "hidden": 8, "longest": 40}
SMALL_FCN = {"categories": 3, "width": 16, "longest": 64}
SMALL_FCN_VGG = {"categories": 3, "width": 4, "hidden": 16, "longest": 64}
SMALL_UNET = {"categories": 3, "width": 4, "longest": 64}
SMALL_DILATED = {"categories": 3, "width": 16, "shorter": 64}
SMALL_DEEPLAB = {**SMALL_DILATED, "channels": 16}
SMALL_DEPTH = {"width": 0.1, "shorter": 32, "longest": 64}
SMALL_DEPTH_PRO = {
    "side": 32,
    "patch": 4,
    "vit_width": 16,
    "vit_depth": 2,
    "vit_heads": 2,
    "hooks": (),
    "channels": (8, 8, 8),
    "width": 16,
}
SMALL_FOREST = {"trees": 2, "depth": 6, "candidates": 40, "tried": 8, "thresholds": 8, "pixels": 60}
SMALL_CLIP = {"size": (64, 64), "embedding": 16, "text_width": 16, "text_layers": 1, "context": 32, "head": 8}
SMALL_CLIP_VIT = {**SMALL_CLIP, "width": 16, "blocks": (1,), "patch": 16}
SMALL_CLIP_RESNET = {**SMALL_CLIP, "width": 8, "blocks": (1, 1, 1, 1)}
SMALL_CLASSIFIED = {"categories": 3, "width": 16, "dimensions": 16}
SMALL_FACENET = {"size": (64, 64), "width": 8, "dimensions": 16}
SMALL_ARCFACE = {"identities": 3, "size": (64, 64), "width": 16, "dimensions": 16}
SMALL_DEEPFACE = {"identities": 3, "size": (72, 72), "width": 2, "hidden": 16}
SMALL_DEEPID2 = {"identities": 3, "size": (64, 64), "channels": (4, 4, 4, 4), "dimensions": 16}
SMALL_DEEPID2_CROPS = {
    "identities": 3,
    "size": (32, 32),
    "whole": (48, 48),
    "channels": (2, 2, 2, 2),
    "dimensions": 8,
    "chosen": 2,
    "components": 4,
}
SMALL_DDPM = {
    "size": (16, 16),
    "channels": (8, 8),
    "attends": (False, True),
    "groups": 4,
    "diffusion_steps": 20,
}
SMALL_DIFFUSION = {"size": (16, 16), "width": 8, "diffusion_steps": 20}
SMALL_DIT = {"categories": 3, "depth": 1, "heads": 2, **SMALL_DIFFUSION}
SMALL_WORDS = {"text_width": 32, "text_layers": 1, "context": 32}
SMALL_TEXT_TO_IMAGE = {**SMALL_DIFFUSION, **SMALL_WORDS}
SMALL_IMAGEN = {**SMALL_TEXT_TO_IMAGE, "size": (32, 32), "embedding": 16, "levels": 3}
SMALL_LATENT = {**SMALL_TEXT_TO_IMAGE, "autoencoder_width": 8}
SMALL_EMBEDDER = {"identities": 3, "size": (64, 64), "width": 16, "dimensions": 16}
SMALL_GAN = {"size": (16, 16), "latent": 8, "width": 4}
SMALL_GROWN = {**SMALL_GAN, "most": 8}
SMALL_COLOURS = {"size": (32, 32), "width": 4}
