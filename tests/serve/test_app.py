"""The routes: what a request gives is what the model gives, and what cannot be served is told in a sentence."""

import base64
import io
import json
import re
import threading
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import PIL.Image
import pytest
import torch
from starlette.testclient import TestClient

from tests.closeness import FLOAT32, assert_close
from tests.serve.finder import Finder, coded, picture
from vidi import files
from vidi.depth.stereo import stereo_tiny
from vidi.depth.supervised import depth_tiny
from vidi.detection.retinanet import retinanet_tiny
from vidi.embedding.embedder import embedder_tiny
from vidi.files import ImageBytes
from vidi.generative.gan.original import gan
from vidi.model import Samples, Saved
from vidi.results.classification import Classification
from vidi.results.depth_map import DepthMap
from vidi.results.detections import Detections
from vidi.results.panoptic_map import PanopticMap, Segment
from vidi.results.semantic_map import SemanticMap
from vidi.serve.answers import conditions_of, packed
from vidi.serve.app import PAGE, PAGES, make_app
from vidi.serve.limits import Limits
from vidi.serve.metrics import Metrics
from vidi.serve.served import Served

RED_BOX, BLUE_BOX = [10, 20, 40, 50], [50, 5, 70, 25]
RED = {"name": "red", "label": 0, "score": pytest.approx(0.9)}
BLUE = {"name": "blue", "label": 1, "score": pytest.approx(0.4)}
ORIENTATION, EXIF, IN_35_MM = 0x0112, 0x8769, 0xA405
ADDRESS = "http://169.254.169.254/latest"


PATIENT = Limits(seconds=600)  # where the machine has much else to do


def client_of(*models: Served, limits: Limits = PATIENT, **options: Any) -> TestClient:
    """Return a client of a server."""
    app: Any = make_app(models, limits=limits, **options)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder()


@pytest.fixture(scope="module")
def maker() -> Any:
    return gan(size=(16, 16), hidden=16)


@pytest.fixture(scope="module")
def embedder() -> Any:
    return embedder_tiny(identities=3, size=(64, 64), width=16, dimensions=16)


@pytest.fixture(scope="module")
def caller(finder: Finder, maker: Any, embedder: Any) -> Iterator[TestClient]:
    """A server of a finder, a generator, and what embeds."""
    metrics = Metrics()
    models = {"finder": finder, "maker": maker, "embedder": embedder}
    served = [Served(name, model, metrics=metrics) for name, model in models.items()]
    limits = Limits(pictures=3, pixels=100_000, samples=4, bytes=200_000, seconds=PATIENT.seconds)
    with client_of(*served, limits=limits, metrics=metrics) as client:
        yield client


def form(*contents: bytes, names: tuple[str, ...] = ("a.png", "b.png", "c.png", "d.png")) -> Any:
    return [("images", (name, data, "image/png")) for name, data in zip(names, contents, strict=False)]


def both() -> bytes:
    return coded(picture(red=RED_BOX, blue=BLUE_BOX))


# ----------------------------------------------------------------------------------------------------------------------
# Pictures in


def test_what_is_found_above_the_models_own_threshold_is_answered(caller: TestClient) -> None:
    answer = caller.post("/predict", files=form(both()))
    assert answer.status_code == 200
    found = answer.json()
    (row,) = found.pop("results")
    assert found == {"model": "finder", "threshold": 0.5}
    (thing,) = row.pop("result")["objects"]
    assert row == {"image": "a.png", "width": 80, "height": 60, "kind": "Detections", "summary": "1 red"}
    assert {key: thing[key] for key in RED} == RED
    assert thing["box"] == RED_BOX


def test_a_threshold_is_that_of_the_request(caller: TestClient) -> None:
    answer = caller.post("/predict?threshold=0.3", files=form(both())).json()
    assert answer["threshold"] == 0.3
    assert [thing["name"] for thing in answer["results"][0]["result"]["objects"]] == ["red", "blue"]
    assert caller.post("/predict?threshold=0.95", files=form(both())).json()["results"][0]["result"]["objects"] == []


def test_the_body_may_be_the_file_itself(caller: TestClient) -> None:
    for kind in ("image/png", "application/octet-stream", "IMAGE/JPEG; q=1"):
        answer = caller.post("/predict", content=both(), headers={"Content-Type": kind})
        assert answer.json()["results"][0]["summary"] == "1 red"


def test_several_pictures_are_answered_in_order_and_a_bad_one_in_its_place(caller: TestClient) -> None:
    contents = (both(), b"no picture", coded(picture((30, 40), red=[0, 0, 5, 5])))
    answer = caller.post("/predict", files=form(*contents))
    assert answer.status_code == 200
    first, bad, last = answer.json()["results"]
    assert (first["image"], last["image"], last["width"]) == ("a.png", "c.png", 40)
    assert set(bad) == {"image", "error"}
    assert bad["error"].startswith("b.png: not an image of a known format")


def test_bytes_are_decoded_as_a_file_would_be(caller: TestClient) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = 6  # the right side of what is stored is at the bottom
    data = coded(picture((60, 80), red=[0, 0, 20, 30]), "JPEG", exif=exif, quality=95)
    (row,) = caller.post("/predict", files=form(data)).json()["results"]
    assert (row["width"], row["height"]) == (60, 80)
    expected = Finder().predict(PIL.Image.open(io.BytesIO(data)))[0]
    assert row["result"] == json.loads(expected.above().to_json())
    assert row["result"]["objects"][0]["box"][0] >= 25  # it has come to the right
    for kind in ("WEBP", "BMP", "GIF", "TIFF"):
        answer = caller.post("/predict", files=form(coded(picture(red=RED_BOX), kind)))
        assert answer.json()["results"][0]["summary"] == "1 red", kind


def test_image_bytes_are_pictures_as_any_others(finder: Finder) -> None:
    data = both()
    expected = files.decode_image("x", data)
    (result,) = finder.predict([ImageBytes("x", data)])
    assert finder.predict(ImageBytes("x", data))[0].boxes.tolist() == result.boxes.tolist()
    assert torch.equal(result.picture(), expected)
    with pytest.raises(ValueError, match="x: 80 x 60 pixels are more than the limit of 10"):
        finder.predict([ImageBytes("x", data, max_pixels=10)])


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_drawn_picture_is_that_of_the_result(caller: TestClient, finder: Finder, kind: str) -> None:
    answer = caller.post(f"/predict?format={kind}&threshold=0.3", files=form(both()))
    assert answer.headers["content-type"] == f"image/{kind}", answer.text
    (result,) = finder.predict(files.decode_image("x", both()))
    expected = result.draw(picture(red=RED_BOX, blue=BLUE_BOX), threshold=0.3)
    assert answer.content == files.encode_image(expected, f".{kind}", quality=90)


def test_one_picture_is_drawn_at_a_time(caller: TestClient) -> None:
    answer = caller.post("/predict?format=png", files=form(both(), both()))
    assert answer.status_code == 422
    assert answer.json()["error"] == "received 2 pictures, expected one where its drawing is asked for"
    bad = caller.post("/predict?format=png", files=form(b"no"))
    assert (bad.status_code, bad.json()["error"].partition(":")[0]) == (422, "a.png")


def test_masks_joints_and_bones_are_there_for_a_page(caller: TestClient) -> None:
    (row,) = caller.post("/predict?maps=100", files=form(both())).json()["results"]
    (thing,) = row["result"]["objects"]
    assert thing["keypoints"]["left_end"] == {"x": 10, "y": 35, "score": 1}
    assert thing["mask"]["size"] == [60, 80]
    assert (row["maps"], row["bones"]) == ({}, [["left_end", "right_end"]])


# ----------------------------------------------------------------------------------------------------------------------
# Batches


def test_results_of_a_batch_are_those_of_each_picture_alone() -> None:
    torch.default_generator.manual_seed(1)
    model = retinanet_tiny(categories=3, channels=32, head_depth=1, score_threshold=0.0)
    sizes = [(96, 128), (128, 96), (96, 128), (192, 256), (128, 96), (96, 128)]  # those of one shape share a canvas
    draws = np.random.default_rng(0)
    sent = [coded(PIL.Image.fromarray(draws.integers(0, 256, (*size, 3), dtype=np.uint8))) for size in sizes]
    metrics = Metrics()
    served = Served("net", model, metrics=metrics, wait=30.0)
    with client_of(served, metrics=metrics) as client:
        names = tuple(f"{row}.png" for row in range(len(sent)))
        answers = client.post("/predict?threshold=0", files=form(*sent, names=names)).json()["results"]
        counts = client.get("/metrics").text
    assert 'vidi_batch_size_sum{model="net"} 6' in counts
    assert 'vidi_batch_size_count{model="net"} 2' in counts
    assert [answer["image"] for answer in answers] == list(names)
    for data, answer in zip(sent, answers, strict=True):
        (alone,) = model.predict(ImageBytes("x", data))
        objects = answer["result"]["objects"]
        assert len(objects) == len(alone) > 0
        assert_close(torch.tensor([thing["box"] for thing in objects]), alone.boxes, FLOAT32)
        assert_close(torch.tensor([thing["score"] for thing in objects]), alone.scores, FLOAT32)
        assert [thing["label"] for thing in objects] == alone.labels.tolist()


def test_pictures_of_one_request_share_a_batch(caller: TestClient, finder: Finder) -> None:
    finder.batches.clear()
    served = Served("slow", finder, wait=30.0)
    with client_of(served) as client:
        client.post("/predict", files=form(both(), both(), both()))
    assert finder.batches == [3]


def test_a_result_remembers_its_picture_and_the_models_threshold(finder: Finder) -> None:
    served = Served("finder", finder)
    finder.shown_from = 0.3
    try:
        prepared = served.prepare(ImageBytes("x", both()), {})
        result: Detections = served.predict(prepared).result(30)
        assert (result.threshold, len(result.above())) == (0.3, 2)
        picture: Any = result.picture
        assert torch.equal(picture(), prepared.image)
    finally:
        finder.shown_from = Finder.shown_from
        served.batches.close()


# ----------------------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("request_of", "status", "told"),
    [
        ({"content": b"x"}, 415, "received no content type, expected pictures"),
        ({"json": {"url": ADDRESS}}, 415, "received application/json, expected pictures"),
        ({"files": [("images", ("a.png", b"", "image/png"))]}, 422, "a.png: not an image of a known format"),
        ({"content": b"", "headers": {"Content-Type": "image/png"}}, 422, "received an empty body"),
        ({"data": {"images": ADDRESS}, "files": {"x": ("a", b"x")}}, 422, "received text as images"),
        ({"data": {"path": "/etc/passwd"}, "files": {"x": ("a", b"x")}}, 422, "nothing is fetched from elsewhere"),
        ({"files": form(*[b"x"] * 4)}, 413, "received more than 3 pictures"),
        ({"files": form(coded(picture((500, 400))))}, 422, "400 x 500 pixels are more than the limit of 100000"),
        ({"files": form(both()[:100])}, 422, "a.png: damaged image"),
        ({"content": b"x" * 200_001}, 413, "received more than 200000 bytes"),
        ({"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"params": {"model": "other"}}, 404, "received the model 'other', expected one of finder, maker, embedder"),
        ({"params": {"model": "maker"}}, 409, "maker does not predict, expected one of finder, embedder"),
        ({"params": {"threshold": 2}}, 422, "threshold: "),
        ({"params": {"threshold": "nan"}}, 422, "threshold: "),
        ({"params": {"format": "gif"}}, 422, "format: "),
        ({"params": {"maps": 0}}, 422, "maps: "),
        ({"params": {"fov": 60}, "files": form(b"x")}, 422, "received fov, expected pictures alone for finder"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_sentence(
    caller: TestClient, request_of: dict[str, Any], status: int, told: str
) -> None:
    answer = caller.post("/predict", **request_of)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert told.lower() in answer.json()["error"].lower()
    assert "Traceback" not in answer.text


def test_unknown_paths_and_methods_are_told_too(caller: TestClient) -> None:
    assert (caller.get("/nothing").status_code, caller.get("/nothing").json()) == (404, {"error": "Not Found"})
    assert caller.get("/predict").status_code == 405
    for elsewhere in ("/docs", "/redoc", "/page/index.html", "/../pyproject.toml"):
        assert caller.get(elsewhere).status_code == 404


class Broken(Finder):
    """Fails on pictures with something blue."""

    def predict_batch(self, batch: Any) -> list[Any]:
        results = super().predict_batch(batch)
        if any(1 in result.labels for result in results):
            raise RuntimeError("at /home/ada/model.py, line 3")
        return results


def test_a_model_that_fails_is_a_fault_without_a_stack_trace_and_the_next_request_is_served() -> None:
    with client_of(Served("broken", Broken())) as client:
        answer = client.post("/predict", files=form(both()))
        assert (answer.status_code, list(answer.json())) == (500, ["error"])
        assert "ada" not in answer.text
        assert client.post("/predict", files=form(coded(picture(red=RED_BOX)))).status_code == 200


def test_models_have_different_names(finder: Finder) -> None:
    served = Served("one", finder)
    for models in ([], [served, served]):
        with pytest.raises(ValueError, match="expected some of different names"):
            make_app(models)
    served.batches.close()


def test_a_system_that_has_nothing_to_do_with_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a model that looks at pictures or makes some"):
        Served("words", Saved())


# ----------------------------------------------------------------------------------------------------------------------
# Vectors, depth, and pictures that are made


def test_vectors_are_those_of_embed(caller: TestClient, embedder: Any) -> None:
    sent = [both(), coded(picture((70, 50), red=[0, 0, 50, 9]))]
    answer = caller.post("/embed", files=form(*sent)).json()
    assert answer["model"] == "embedder"
    assert [row["image"] for row in answer["results"]] == ["a.png", "b.png"]
    vectors = torch.tensor([row["vector"] for row in answer["results"]])
    assert_close(vectors, embedder.embed([ImageBytes("x", data) for data in sent]), FLOAT32)


def test_pictures_are_those_of_sample_and_say_how_they_were_made(caller: TestClient, maker: Samples) -> None:
    wish = {"model": "maker", "count": 2, "seed": 7, "conditions": {"truncation": "0.7"}}
    answer = caller.post("/sample", json=wish).json()
    assert [row["seed"] for row in answer["images"]] == [7, 8]
    opened = [PIL.Image.open(io.BytesIO(base64.b64decode(row["png"]))) for row in answer["images"]]
    expected = maker.sample(2, generator=torch.Generator().manual_seed(7), truncation=0.7)  # type: ignore[call-arg]
    for image, pixels in zip(opened, expected, strict=True):
        assert np.array_equal(np.asarray(image), (pixels * 255).round().byte().permute(1, 2, 0).numpy())
    texts = [getattr(image, "text", {}) for image in opened]
    assert texts[1] == {
        "model": "maker",
        "seed": "7",
        "count": "2",
        "picture": "1",
        "truncation": "0.7",
        "interpolate": "none",
    }
    assert caller.post("/sample", json={"seed": 7}).json()["model"] == "maker"  # the only one that makes pictures


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"count": 5}, "received count=5, expected at most 4"),
        ({"count": 0}, "count: "),
        ({"seed": -1}, "seed: "),
        ({"conditions": {"trunkation": 0.7}}, "trunkation: no such key; did you mean truncation?"),
        ({"conditions": {"truncation": "much"}}, "truncation: received 'much', expected float or none"),
        ({"conditions": {"truncation": -1}}, "truncation"),
    ],
)
def test_wishes_that_cannot_be_fulfilled_are_told(caller: TestClient, wish: dict[str, Any], told: str) -> None:
    answer = caller.post("/sample", json=wish)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


class Slow(Samples):
    """Tells of a thousand steps."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(1))
        self.preprocess = None
        self.steps = 0

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Any:
        for done in range(1000):
            self.steps = done
            threading.Event().wait(0.01)
            self.tell("steps", done, 1000)
        return torch.zeros(count, 3, 2, 2)


def test_a_sampling_ends_between_two_steps_when_its_time_is_over() -> None:
    slow = Slow()
    with client_of(Served("slow", slow), limits=Limits(seconds=0.1)) as client:
        answer = client.post("/sample", json={})
        assert answer.status_code == 503
        assert "0.1 s" in answer.json()["error"]
    assert slow.steps < 999  # the server has stopped, and so has it


def test_depth_takes_the_focal_length_of_the_request_or_of_exif() -> None:
    model = depth_tiny(width=0.1, shorter=32, longest=64)
    exif = PIL.Image.Exif()
    exif.get_ifd(EXIF)[IN_35_MM] = 28
    data = coded(picture(), "JPEG", exif=exif)
    with client_of(Served("depth", model)) as client:
        told = [
            client.post(f"/predict{query}", files=form(data)).json()["results"][0]["result"]
            for query in ("", "?focal_px=90")
        ]
        both_given = client.post("/predict?focal_px=90&fov=60", files=form(data))
        (row,) = client.post("/predict?maps=40", files=form(data)).json()["results"]
        knows = client.get("/models").json()["models"][0]["knows"]
    diagonal_of_film = (36**2 + 24**2) ** 0.5
    assert (told[0]["focal_px"], told[0]["focal_source"]) == (pytest.approx(28 * 100 / diagonal_of_film), "EXIF")
    assert (told[1]["focal_px"], told[1]["focal_source"]) == (90, "given")
    assert (both_given.status_code, knows) == (422, ["focal_px", "fov"])
    (expected,) = model.predict([ImageBytes("x", data)])
    depth = row["maps"]["depth"]
    assert (depth["shape"], depth["step"], depth["type"]) == ([30, 40], 2, "float32")
    values = np.frombuffer(zlib.decompress(base64.b64decode(depth["zlib"])), np.float32).reshape(30, 40)
    assert_close(torch.tensor(values), expected.depth[::2, ::2], FLOAT32)


def test_a_model_of_pairs_takes_pictures_two_by_two() -> None:
    model = stereo_tiny(width=0.1, shorter=32, longest=64)
    left, right = both(), coded(picture(red=[8, 20, 38, 50]))
    with client_of(Served("stereo", model)) as client:
        answer = client.post("/predict?focal_px=100&baseline=0.5", files=form(left, right, left, right))
        odd = client.post("/predict", files=form(left))
        assert client.get("/models").json()["models"][0]["pairs"]
    assert (odd.status_code, odd.json()["error"]) == (
        *(422, "received 1 pictures, expected pairs: left, right, left, right ..."),
    )
    first, second = answer.json()["results"]
    (expected,) = model.predict([(ImageBytes("l", left), ImageBytes("r", right))], focal_px=100, baseline=0.5)
    assert first["image"] == "a.png"
    assert first["result"]["depth"]["median"] == pytest.approx(expected.to_dict()["depth"]["median"], rel=FLOAT32)
    assert second["result"]["depth"]["median"] == pytest.approx(first["result"]["depth"]["median"], rel=FLOAT32)


def test_maps_are_thinned_out_to_the_asked_side_and_small_ids_take_two_bytes() -> None:
    values = torch.arange(6 * 9, dtype=torch.int32).reshape(6, 9)
    row = packed(values, 4)
    assert (row["shape"], row["step"], row["type"]) == ([2, 3], 3, "uint16")
    assert np.frombuffer(zlib.decompress(base64.b64decode(row["zlib"])), np.uint16).tolist() == [0, 3, 6, 27, 30, 33]
    assert packed(values + 70000, 9)["type"] == "int32"
    assert packed(values, 9)["shape"] == [6, 9]
    assert packed(torch.zeros(2, 2, dtype=torch.uint8), 2)["type"] == "uint8"


# ----------------------------------------------------------------------------------------------------------------------
# Looking around


def test_models_say_what_they_can_be_asked_for(caller: TestClient) -> None:
    answer = caller.get("/models").json()
    assert answer["limits"] == {"bytes": 200_000, "pixels": 100_000, "pictures": 3}
    finder, maker, embedder = answer["models"]
    assert finder == {
        "name": "finder",
        "system": "Finder",
        "does": ["predict"],
        "parameters": 0,
        "threshold": 0.5,
        "categories": [{"name": "red", "colour": "#e69f00"}, {"name": "blue", "colour": "#56b4e9"}],
        "pairs": False,
        "knows": [],
    }
    assert (maker["system"], maker["does"], maker["most"]) == ("gan", ["sample"], 4)
    assert maker["conditions"] == [
        {"name": "truncation", "type": "float or none", "default": None},
        {"name": "interpolate", "type": "int or none", "default": None},
    ]
    assert embedder["does"] == ["predict", "embed"]


class Chooses(Slow):
    """Takes a choice, and a condition that Python has a word for."""

    def sample(  # type: ignore[override]
        self,
        count: int,
        *,
        generator: torch.Generator | None = None,
        class_: int = 3,
        way: Literal["a", "b"] = "a",
    ) -> Any: ...


def test_choices_of_conditions_are_listed() -> None:
    assert conditions_of(Chooses()) == [
        {"name": "class", "type": "int", "default": 3},
        {"name": "way", "type": "one of a, b", "default": "a", "choices": ["a", "b"]},
    ]


def test_health_and_numbers(finder: Finder) -> None:
    metrics = Metrics()
    served = Served("finder", finder, metrics=metrics)
    with client_of(served, metrics=metrics) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        client.post("/predict", files=form(both(), b"no"))
        numbers = client.get("/metrics")
        served.batches.close()
        stopped = client.get("/healthz")
        late = client.post("/predict", files=form(both()))
    assert numbers.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'vidi_requests_total{path="/predict",status="200"} 1',
        'vidi_pictures_total{model="finder",outcome="ok"} 1',
        'vidi_pictures_total{model="finder",outcome="error"} 1',
        'vidi_batch_size_count{model="finder"} 1',
        'vidi_model_seconds_count{model="finder"} 1',
        'vidi_queue{model="finder"} 0',
    ):
        assert line in numbers.text.splitlines()
    assert (stopped.status_code, stopped.json()) == (503, {"error": "stopped: finder"})
    assert (late.status_code, late.json()) == (503, {"error": "the server is about to stop"})


def test_openapi_shows_how_pictures_are_sent_and_answers(caller: TestClient) -> None:
    paths = caller.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/predict", "/embed", "/sample", "/models", "/healthz", "/metrics"}
    for path in ("/predict", "/embed"):
        assert set(paths[path]["post"]["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    for path, verb in (("/predict", "post"), ("/embed", "post"), ("/sample", "post"), ("/models", "get")):
        answer = paths[path][verb]["responses"]["200"]["content"]
        assert answer["application/json"]["example"]
    assert set(paths["/predict"]["post"]["responses"]["200"]["content"]) == {
        *("application/json", "image/png", "image/jpeg"),
    }


def test_examples_have_the_keys_of_real_answers(caller: TestClient) -> None:
    paths = caller.get("/openapi.json").json()["paths"]

    def example(path: str, verb: str = "post") -> Any:
        return paths[path][verb]["responses"]["200"]["content"]["application/json"]["example"]

    found = caller.post("/predict", files=form(both(), b"no")).json()
    assert set(example("/predict")) == set(found)
    assert [set(row) for row in example("/predict")["results"]] == [set(row) for row in found["results"]]
    vectors = caller.post("/embed", files=form(both())).json()
    assert set(example("/embed")["results"][0]) == set(vectors["results"][0])
    made = caller.post("/sample", json={}).json()
    assert set(example("/sample")["images"][0]) == set(made["images"][0])
    models, shown = caller.get("/models").json(), example("/models", "get")
    assert set(shown) == set(models)
    assert [set(row) for row in shown["models"]] == [set(row) for row in models["models"][:2]]


def test_the_page_needs_nothing_from_elsewhere(caller: TestClient) -> None:
    assert {name for name, _ in PAGES.values()} == {path.name for path in PAGE.iterdir()}
    for path, (_, kind) in PAGES.items():
        answer = caller.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert not re.findall(r"""(?:https?:)?//[\w.]+\.\w+(?<!www.w3.org)/""", answer.text)


def test_the_page_and_health_need_no_token(finder: Finder) -> None:
    with client_of(Served("f", finder), token="word") as client:
        assert [client.get(path).status_code for path in ("/", "/page.js", "/healthz")] == [200, 200, 200]
        assert [client.get(path).status_code for path in ("/models", "/metrics", "/openapi.json")] == [401] * 3
        assert client.get("/models", headers={"Authorization": "Bearer word"}).status_code == 200


def test_results_give_what_they_say_of_every_pixel_as_maps() -> None:
    rows = torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8)
    depth = DepthMap(torch.ones(2, 2), rows == 1, "relative")
    assert torch.equal(depth.maps()["depth"], rows.float())
    assert torch.equal(SemanticMap(rows, ("a", "b")).maps()["classes"], rows)
    segments = PanopticMap(rows.int(), (Segment(1, 0, 0.9, True),), ("a",))
    assert torch.equal(segments.maps()["ids"], rows.int())
    assert segments.above(0.95).maps()["ids"].unique().tolist() == [0]
    assert Classification(torch.tensor([1.0]), ("a",)).maps() == {}
