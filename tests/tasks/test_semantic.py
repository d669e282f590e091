"""The task of semantic segmentation: its scores, its plots, and the commands on the world and on pairs of pictures."""

from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

import vidi
from tests.settings import SEED
from vidi import api
from vidi.data.world.names import SEMANTIC_CATEGORIES
from vidi.engine.datasets import categories_for, categories_of
from vidi.ops.label_maps import VOID
from vidi.results.semantic_map import SemanticMap
from vidi.tasks.semantic import SEMANTIC, SemanticScorer


def result(rows: list[list[int]]) -> SemanticMap:
    return SemanticMap(torch.tensor(rows, dtype=torch.uint8), ("road", "sky", "tree"))


def truth(rows: list[list[int]]) -> dict[str, Any]:
    return {"semantic": torch.tensor(rows, dtype=torch.uint8)}


@pytest.mark.system("5.1-SEMSEG", "5.1-MIOU")
def test_scores_are_of_the_whole_set_and_say_that_absent_classes_are_left_out(tmp_path: Path) -> None:
    scorer = SemanticScorer(("road", "sky", "tree"))
    scorer.update([result([[0, 0, 1]])], [truth([[0, 1, 1]])])
    scorer.update([result([[0, 1, 1]])], [truth([[0, VOID, 1]])])
    scores = scorer.compute()
    assert SemanticScorer.headline == "miou_present"
    assert scores["miou_present"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(4 / 5)
    assert scorer.remarks() == ["1 of 3 classes do not occur, and miou_present leaves them out: tree"]
    scorer.write_plots(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"class_iou.png", "confusion_matrix.png"}


def test_nothing_is_remarked_where_all_classes_occur_if_only_in_predictions() -> None:
    scorer = SemanticScorer(("road", "sky", "tree"))
    scorer.update([result([[0, 0, 2]])], [truth([[0, 1, 1]])])
    assert scorer.remarks() == []


def test_classes_are_those_of_the_pixels() -> None:
    dataset = SEMANTIC.built_in["world"].opens("train", 2, SEMANTIC.recipe, SEMANTIC.keys)
    assert categories_for(SEMANTIC, dataset) == SEMANTIC_CATEGORIES
    assert categories_of(dataset) == SEMANTIC_CATEGORIES[:5]
    image, target = dataset[0]
    drawn = SEMANTIC.truth(target, SEMANTIC_CATEGORIES)  # type: ignore[misc]
    assert drawn.classes.shape == image.shape[1:]


def test_pairs_of_pictures_train_and_score(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (tmp_path / "roads" / folder).mkdir(parents=True)
        for number in range(4):
            picture = PIL.Image.new("RGB", (37, 29), (200, 200, 255))
            picture.paste((90, 90, 90), (0, 15, 37, 29))
            labels = PIL.Image.new("L", (37, 29), 0)
            labels.paste(1, (0, 15, 37, 29))
            labels.paste(2, (0, 0, 3, 3))
            picture.save(tmp_path / "roads" / split / f"{number}.png")
            labels.save(tmp_path / "roads" / f"{split}annot" / f"{number}.png")
    (tmp_path / "roads" / "classes.txt").write_text("0 sky\n1 road\n2 void\n")
    run = vidi.train(
        "unet_tiny", data=tmp_path / "roads", out=tmp_path / "run", longest=32, steps=25, batch_size=4, ema=0.0,
        learning_rate=1e-2, augment="boxes", seed=SEED,
    )  # fmt: skip
    scores = api.scores_of(run)
    assert float(scores["miou_present"]) > 0.8
    assert "leaves them out" not in (run.folder / "report.md").read_text()
    model = vidi.load(run.folder)
    drawn = list(api.predict_files(model, [tmp_path / "roads" / "val" / "0.png"]))
    assert drawn[0][2].draw(drawn[0][1]).size[0] > 0
    assert drawn[0][2].to_dict()["size"] == [29, 37]
