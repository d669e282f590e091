"""The whole detector: fitted to generated faces, saved, and asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from tests.conftest import Learnt
from tests.detection.viola_jones.cascades import astronaut, opencv_file
from tests.settings import SEED
from vidi import files
from vidi.data.faces import Faces
from vidi.data.world.dataset import World
from vidi.detection.viola_jones.cascade import same
from vidi.detection.viola_jones.detector import ViolaJones, viola_jones
from vidi.detection.viola_jones.opencv_xml import read_cascade
from vidi.detection.viola_jones.samples import Jitter, gather, is_background, object_classes
from vidi.ops.boxes import box_iou
from vidi.results.detections import Detections

Sample = tuple[Tensor, dict[str, Tensor]]
CATEGORIES = ("backgrounds", "faces")
QUICK = {"window": (16, 16), "stages": 8, "candidates": 600, "negatives": 600, "copies": 4}


def portraits(split: str, people: int) -> list[Tensor]:
    faces = Faces(split, identities=people, pictures=2, size=(40, 40), nuisance=0.3)
    return [faces[index][0].as_subclass(Tensor) for index in range(len(faces))]


def scenes(split: str, count: int) -> list[Tensor]:
    world = World(split, count=count, size=(96, 96), seed=0, targets=[])
    return [world[index][0].as_subclass(Tensor) for index in range(count)]


def folders() -> list[Sample]:
    """Samples as class folders give them."""
    faces: list[Sample] = [(image, {"label": torch.tensor(1)}) for image in portraits("train", 60)]
    return faces + [(image, {"label": torch.tensor(0)}) for image in scenes("train", 24)]


@pytest.fixture(scope="module")
def detector() -> ViolaJones:
    model = viola_jones(categories=CATEGORIES, **QUICK)
    model.fit(folders(), generator=torch.Generator().manual_seed(SEED))
    return model


@pytest.mark.system("4.2-VJ")
@pytest.mark.parametrize(
    ("scan", "merge", "threshold", "least", "most"), [("image", "groups", 3.0, 8, 10), ("features", "nms", 0.3, 6, 80)]
)
def test_faces_are_found_in_scenes(detector, scan, merge, threshold, least, most, learnt: Learnt):
    model = viola_jones(categories=CATEGORIES, scan=scan, merge=merge, merge_threshold=threshold, **QUICK)
    model.load_state_dict(detector.state_dict())
    found = false_alarms = 0
    photos, faces = scenes("val", 10), portraits("val", 5)
    for photo, face in zip(photos, faces, strict=True):
        picture = photo.clone()
        picture[:, 30:70, 20:60] = face
        result = model.predict(picture)[0]
        assert isinstance(result, Detections)
        overlaps = box_iou(result.boxes, torch.tensor([[20.0, 30, 60, 70]]))[:, 0]
        found += int((overlaps >= 0.5).any())
        false_alarms += int((overlaps < 0.2).sum())
        assert (result.labels == 1).all()
    learnt("found", found, least=least)
    learnt("false alarms", false_alarms, most=most)  # in ten pictures


@pytest.mark.system("4.2-VJ", "4.2.1-SELECT")
def test_a_fitted_detector_knows_its_rates_and_saves_itself(detector, tmp_path: Path, learnt: Learnt):
    trees = detector.cascade.stage_trees
    assert 1 <= len(trees) <= QUICK["stages"]
    assert len(detector.cascade.features) == trees.sum()
    learnt("detection rate", float(detector.detection_rate), least=0.9)
    learnt("false positive rate", float(detector.false_positive_rate), most=0.1)
    detector.save(tmp_path)
    again = viola_jones(categories=CATEGORIES, **QUICK)
    again.load_state_dict(files.read_tensors(tmp_path / "weights.safetensors"))
    assert same(again.cascade, detector.cascade)
    image = scenes("val", 1)[0]
    assert torch.equal(again.predict(image)[0].boxes, detector.predict(image)[0].boxes)


def boxed(categories: int = 2) -> list[Sample]:
    """Samples as detection data gives them: two faces in a scene, one of them in a crowd."""
    samples: list[Sample] = []
    for scene, one, other in zip(scenes("train", 12), portraits("train", 6), portraits("test", 6), strict=True):
        picture = scene.clone()
        picture[:, 5:45, 5:45], picture[:, 50:90, 50:90] = one, other
        boxes = tv_tensors.BoundingBoxes(
            torch.tensor([[5.0, 5, 45, 45], [50, 50, 90, 90]]),
            format="XYXY",  # type: ignore[call-overload]
            canvas_size=(96, 96),
        )
        target = {"boxes": boxes, "labels": torch.tensor([0, 0]), "crowd": torch.tensor([False, True])}
        samples.append((tv_tensors.Image(picture), target))
    return samples


def test_faces_are_cut_from_boxes_and_the_rest_is_background():
    material = gather(boxed(), [0], (16, 16), (0.0, 0.0, 1.0, 1.0), Jitter(copies=3), np.random.default_rng(0))
    assert material.objects.shape == (36, 16, 16)  # not those in crowds
    assert len(material.pictures) == 12
    assert all(len(picture.objects) == 2 for picture in material.pictures)
    model = viola_jones(window=(16, 16), stages=2, candidates=100, negatives=100)
    model.fit(boxed(), generator=torch.Generator().manual_seed(1))
    again = viola_jones(window=(16, 16), stages=2, candidates=100, negatives=100)
    again.fit(boxed(), generator=torch.Generator().manual_seed(1))
    assert same(model.cascade, again.cascade)


def test_copies_are_upright_first_and_keep_to_the_area():
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    image[:, 10:30, 20:40] = 200
    sample: list[Sample] = [(image, {"label": torch.tensor(0)}), (image, {"label": torch.tensor(1)})]
    area = (0.25, 1 / 3, 0.75, 2 / 3)
    material = gather(sample, [0], (10, 10), area, Jitter(copies=4), np.random.default_rng(0))
    assert (material.objects[0] == 200).all()
    assert (material.objects[1:] > 0).any()
    assert not np.array_equal(material.objects[1], material.objects[2])


def test_classes_by_name():
    backgrounds = ["background", "Backgrounds", "negatives", "no_face", "non-face", "not a face", "none", "others"]
    assert all(is_background(name) for name in backgrounds)
    assert not any(is_background(name) for name in ("face", "faces", "nose", "notebook", None))
    assert object_classes(("backgrounds", "faces")) == [1]
    with pytest.raises(ValueError, match="all of which are backgrounds"):
        viola_jones(categories=("background", "none"))


def test_opencvs_cascade_detects_in_photos_of_any_kind():
    model = viola_jones(scan="image", size=None)
    model.use(read_cascade(opencv_file("frontalface_default")))
    photo = astronaut()[:300, 100:350]
    grey = np.repeat(photo.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    one, other = model.predict([photo, grey])
    assert len(one) == len(other) == 1
    assert box_iou(one.boxes, torch.tensor([[77.0, 66, 172, 161]])).item() > 0.8
    assert one.scores[0] > 0.9
    assert one.draw(photo).size
    halved = viola_jones(scan="image", size=(150, 125))
    halved.use(model.cascade)
    assert box_iou(halved.predict(photo)[0].boxes, one.boxes).item() > 0.7
    small = model.predict(torch.zeros(3, 8, 9, dtype=torch.uint8))[0]
    assert len(small) == 0
    assert str(small) == "no objects"


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "0 objects and 0 pictures"),
        ([(torch.zeros(3, 20, 20, dtype=torch.uint8), {"label": torch.tensor(0)})], "1 objects and 0 pictures"),
        ([(torch.zeros(3, 20, 20, dtype=torch.uint8), {"label": torch.tensor(1)})], "0 objects and 1 pictures"),
        ([(torch.zeros(3, 20, 20, dtype=torch.uint8), {"depth": torch.tensor(1)})], "sample 0 has depth"),
    ],
)
def test_data_sets_that_teach_nothing_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        viola_jones(categories=("face", "background")).fit(samples)


def test_a_detector_without_stages_does_not_detect():
    with pytest.raises(ValueError, match="no stages yet"):
        viola_jones().predict(torch.zeros(3, 30, 30, dtype=torch.uint8))
    with pytest.raises(ValueError, match="one copy or more"):
        viola_jones(copies=0)
