"""Chapter 7: embeddings, of pictures and of texts."""

from vidi.catalog.entry import Entry
from vidi.catalog.papers import ARCFACE, CENTERNET, CLIP, DEEPFACE, DEEPID2, FACENET, MUSGRAVE, SIAMESE
from vidi.catalog.tiny import (
    FACES,
    SMALL_ARCFACE,
    SMALL_CENTERNET,
    SMALL_CLASSIFIED,
    SMALL_CLIP_RESNET,
    SMALL_CLIP_VIT,
    SMALL_DEEPFACE,
    SMALL_DEEPID2,
    SMALL_DEEPID2_CROPS,
    SMALL_EMBEDDER,
    SMALL_FACENET,
)
from vidi.detection.landmarks import face_landmarks_tiny
from vidi.embedding.arcface import arcface_resnet18, arcface_resnet50, arcface_resnet100
from vidi.embedding.clip import (
    clip_rn50,
    clip_rn50x4,
    clip_rn50x16,
    clip_rn50x64,
    clip_rn101,
    clip_rn_tiny,
    clip_tiny,
    clip_vit_b_16,
    clip_vit_b_32,
    clip_vit_l_14,
    clip_vit_l_14_336,
)
from vidi.embedding.deepface import deepface, deepface_tiny
from vidi.embedding.deepid2 import deepid2
from vidi.embedding.deepid2_crops import deepid2_crops
from vidi.embedding.embedder import (
    embedder_efficientnet_lite0,
    embedder_resnet18,
    embedder_resnet50,
    embedder_tiny,
)
from vidi.embedding.facenet import facenet
from vidi.embedding.identity_classifier import identity_classifier
from vidi.embedding.siamese import siamese
from vidi.recipes.detection import LANDMARKS_TINY
from vidi.recipes.identity import (
    CLASSIFIER_RECIPE,
    DEEPFACE_FEATURES,
    DEEPFACE_SIMILARITY,
    DEEPFACE_TINY,
    DEEPFACE_TINY_SIMILARITY,
    DEEPID2_CROPS_RECIPE,
    DEEPID2_RECIPE,
    IDENTITY_PRETRAINED,
    IDENTITY_TINY,
    SIAMESE_RECIPE,
)
from vidi.recipes.image_text import CLIP_RN_TINY, CLIP_TINY
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.identity import IDENTITY
from vidi.tasks.image_text import IMAGE_TEXT
from vidi.tasks.landmarks import LANDMARKS

EMBEDDING_SYSTEMS: dict[str, Entry] = {
    "face_landmarks_tiny": Entry(
        face_landmarks_tiny,
        LANDMARKS,
        "7.1",
        CENTERNET,
        "",
        {**SMALL_CENTERNET, "channels": (32,), **FACES},
        recipe=LANDMARKS_TINY,
    ),
    "embedder_tiny": Entry(embedder_tiny, IDENTITY, "7.2", MUSGRAVE, "", SMALL_EMBEDDER, recipe=IDENTITY_TINY),
    "embedder_resnet18": Entry(embedder_resnet18, IDENTITY, "7.2", MUSGRAVE, "", SMALL_EMBEDDER),
    "embedder_resnet50": Entry(embedder_resnet50, IDENTITY, "7.2", MUSGRAVE, "", SMALL_EMBEDDER),
    "embedder_efficientnet_lite0": Entry(
        embedder_efficientnet_lite0,
        IDENTITY,
        "7.2",
        MUSGRAVE,
        "",
        {**SMALL_EMBEDDER, "width": 0.25},
        recipe=IDENTITY_PRETRAINED,
    ),
    "identity_classifier": Entry(
        identity_classifier, CLASSIFICATION, "7.1.1", DEEPFACE, "", SMALL_CLASSIFIED, recipe=CLASSIFIER_RECIPE
    ),
    "deepface_tiny": Entry(
        deepface_tiny,
        IDENTITY,
        "7.2",
        DEEPFACE,
        "",
        SMALL_DEEPFACE,
        recipe={"features": DEEPFACE_TINY, "similarity": DEEPFACE_TINY_SIMILARITY},
    ),
    "deepface": Entry(
        deepface,
        IDENTITY,
        "7.2",
        DEEPFACE,
        "",
        SMALL_DEEPFACE,
        recipe={"features": DEEPFACE_FEATURES, "similarity": DEEPFACE_SIMILARITY},
    ),
    "deepid2": Entry(deepid2, IDENTITY, "7.2.1", DEEPID2, "", SMALL_DEEPID2, recipe=DEEPID2_RECIPE),
    "deepid2_crops": Entry(
        deepid2_crops,
        IDENTITY,
        "7.2.1",
        DEEPID2,
        "",
        SMALL_DEEPID2_CROPS,
        recipe={"network": DEEPID2_CROPS_RECIPE, "crops": DEEPID2_CROPS_RECIPE},
    ),
    "siamese": Entry(siamese, IDENTITY, "7.2.1", SIAMESE, "", {}, recipe=SIAMESE_RECIPE),
    "facenet": Entry(facenet, IDENTITY, "7.2.2", FACENET, "", SMALL_FACENET),
    "arcface_resnet18": Entry(arcface_resnet18, IDENTITY, "7.2.3", ARCFACE, "", SMALL_ARCFACE),
    "arcface_resnet50": Entry(arcface_resnet50, IDENTITY, "7.2.3", ARCFACE, "", SMALL_ARCFACE),
    "arcface_resnet100": Entry(arcface_resnet100, IDENTITY, "7.2.3", ARCFACE, "", SMALL_ARCFACE),
    "clip_tiny": Entry(clip_tiny, IMAGE_TEXT, "7.3.1", CLIP, "transformers", SMALL_CLIP_VIT, recipe=CLIP_TINY),
    "clip_rn_tiny": Entry(clip_rn_tiny, IMAGE_TEXT, "7.3.1", CLIP, "open_clip", SMALL_CLIP_RESNET, recipe=CLIP_RN_TINY),
    "clip_vit_b_32": Entry(clip_vit_b_32, IMAGE_TEXT, "7.3.1", CLIP, "transformers", SMALL_CLIP_VIT),
    "clip_vit_b_16": Entry(clip_vit_b_16, IMAGE_TEXT, "7.3.1", CLIP, "transformers", SMALL_CLIP_VIT),
    "clip_vit_l_14": Entry(clip_vit_l_14, IMAGE_TEXT, "7.3.1", CLIP, "transformers", SMALL_CLIP_VIT),
    "clip_vit_l_14_336": Entry(clip_vit_l_14_336, IMAGE_TEXT, "7.3.1", CLIP, "transformers", SMALL_CLIP_VIT),
    "clip_rn50": Entry(clip_rn50, IMAGE_TEXT, "7.3.1", CLIP, "open_clip", SMALL_CLIP_RESNET),
    "clip_rn101": Entry(clip_rn101, IMAGE_TEXT, "7.3.1", CLIP, "open_clip", SMALL_CLIP_RESNET),
    "clip_rn50x4": Entry(clip_rn50x4, IMAGE_TEXT, "7.3.1", CLIP, "open_clip", SMALL_CLIP_RESNET),
    "clip_rn50x16": Entry(clip_rn50x16, IMAGE_TEXT, "7.3.1", CLIP, "open_clip", SMALL_CLIP_RESNET),
    "clip_rn50x64": Entry(clip_rn50x64, IMAGE_TEXT, "7.3.1", CLIP, "open_clip", SMALL_CLIP_RESNET),
}
