"""From the name of a class to the sentences that a caption would call it by (notes 7.3.1; CLIP, section 3.1.4).

A caption of the web is rarely one word. The names go into templates, `{}` for the name, and a class is the mean of its
sentences' vectors.
"""

from collections.abc import Sequence

PHOTO = ("a photo of a {}.",)
"""The default of Radford et al. 2021."""

PHOTOS = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""The seven of the authors' 80 that do nearly as well for ImageNet (their notebook on prompt engineering)."""


def sentences_of(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return the sentences of each name, one name after the other.

    Raises:
        ValueError: without a name or a template, or for a template without a place for the name.
    """
    if not names:
        raise ValueError("received no prompt, expected the name of at least one class")
    wrong = [template for template in templates if template.count("{}") != 1]
    if wrong or not templates:
        raise ValueError(f"received the templates {list(templates)}, expected some with one {{}} each, for the name")
    return [template.replace("{}", name) for name in names for template in templates]
