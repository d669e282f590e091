"""What OpenAPI says besides what the routes say themselves: how pictures are sent, and examples of answers."""

from typing import Any

_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}

PICTURES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "items": _FILE, "description": "Files of pictures."}},
                },
                "encoding": {"images": {"contentType": "image/jpeg, image/png, image/webp"}},
            },
            "image/*": {"schema": _FILE},
        },
    }
}
"""How `/predict` and `/embed` take pictures: `curl -F images=@cat.jpg`, or `--data-binary @cat.jpg`."""


def _example(description: str, value: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": value}}}


_CELL = {"name": "red cell", "label": 0, "score": 0.93, "box": [12.5, 40.0, 88.2, 117.9]}

FOUND: dict[str, Any] = _example(
    "What was found, for each picture; `result` depends on the task, whose kind `kind` names.",
    {
        "model": "cells",
        "threshold": 0.5,
        "results": [
            {
                "image": "smear.jpg",
                "width": 640,
                "height": 480,
                "kind": "Detections",
                "summary": "1 red cell",
                "result": {"objects": [_CELL]},
            },
            {"image": "notes.txt", "error": "notes.txt: not an image of a known format (JPEG, PNG, ...)"},
        ],
    },
)

_PICTURE = {"schema": _FILE}

DRAWN: dict[str, Any] = {"content": {**FOUND["content"], "image/png": _PICTURE, "image/jpeg": _PICTURE}}

EMBEDDED = _example(
    "A vector for each picture.",
    {"model": "faces", "results": [{"image": "ada.jpg", "vector": [0.12, -0.03, 0.51]}]},
)

MADE = _example(
    "Pictures as PNGs in base64, each with its seed.",
    {"model": "digits", "images": [{"seed": 0, "png": "iVBORw0KGgo..."}]},
)

MODELS = _example(
    "What is served, and what it can be asked for.",
    {
        "models": [
            {
                "name": "cells",
                "system": "retinanet_resnet18_fpn",
                "does": ["predict"],
                "parameters": 19773548,
                "categories": [{"name": "red cell", "colour": "#e69f00"}],
                "threshold": 0.42,
                "pairs": False,
                "knows": [],
            },
            {
                "name": "digits",
                "system": "ddpm_tiny",
                "does": ["sample"],
                "parameters": 1200000,
                "conditions": [{"name": "guidance", "type": "float", "default": 1.0}],
                "most": 64,
            },
        ],
        "limits": {"bytes": 33554432, "pixels": 40000000, "pictures": 16},
    },
)
