"""Which backbones are tried where the caller leaves it open, and which may be named."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fakes import FakeBackbone, FakeSource
from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.modality import kind_of
from headstart_server.errors import BackboneNotFound, InvalidField
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.heads.recipe import Auto, Partial, Recipe, Ridge
from headstart_server.training.candidates import SHORT_LIST, Candidates

MILLION = 1_000_000


def pool(*backbones: FakeBackbone, default: str = "") -> BackbonePool:
    return BackbonePool(FakeSource(*backbones), lambda backbone: backbone, default or backbones[0].info.name)


def images(*sizes: int) -> list[FakeBackbone]:
    return [FakeBackbone(f"image-{size}", parameters=size * MILLION) for size in sizes]


def tried(
    pool: BackbonePool,
    content: Content = b"image",
    names: Sequence[str] = (),
    recipe: Recipe = Auto(),  # noqa: B008 - frozen
    free: int | None = None,
) -> list[str]:
    spec = FineTuneSpec(model="m", backbone="auto", backbone_candidates=tuple(names), recipe=recipe)
    candidates = Candidates(pool, spec, lambda: free)
    return [info.name for info in candidates.like(pool.default_for(content), kind_of(content))]


def test_without_names_those_that_take_the_examples_are_tried_the_cheapest_first() -> None:
    text = FakeBackbone("text", modality=Modality.TEXT)
    known = pool(*images(9, 3, 5), text)
    assert tried(known) == ["image-3", "image-5", "image-9"]
    assert tried(known, "a text") == ["text"]


def test_of_many_the_cheapest_the_largest_and_some_between_are_tried() -> None:
    names = tried(pool(*images(*range(1, 12))))
    assert names == ["image-1", "image-4", "image-8", "image-11"]
    assert len(names) == SHORT_LIST


def test_what_does_not_fit_into_the_memory_is_left_out_unless_it_is_loaded() -> None:
    known = pool(*images(1, 10, 100))
    assert tried(known, free=200 * MILLION) == ["image-1", "image-10"]
    known.load("image-100")
    assert tried(known, free=200 * MILLION) == ["image-1", "image-10", "image-100"]


def test_an_array_is_an_image_and_a_row_of_numbers_has_another_backbone() -> None:
    known = pool(*images(1, 2))
    assert tried(known, np.zeros((2, 2, 3), np.uint8)) == ["image-1", "image-2"]
    features = pool(FakeBackbone("features:3", modality=Modality.TENSOR), *images(1))
    assert tried(features, np.zeros(3, np.float32)) == ["features:3"]


def test_what_the_recipe_cannot_be_carried_out_on_is_left_out_or_refused_if_it_is_named() -> None:
    known = pool(*images(1))
    assert tried(known, recipe=Partial(blocks=2)) == ["image-1"]
    with pytest.raises(InvalidField, match=r"No backbone of this server .* Name a backbone or candidates\."):
        tried(known, recipe=Partial(blocks=3))
    with pytest.raises(InvalidField, match="Expected a view of backbone 'image-1'"):
        tried(known, names=["image-1"], recipe=Ridge(views=("deep",)))


def test_what_was_never_loaded_is_tried_only_if_it_is_named_and_then_last() -> None:
    unknown = FakeBackbone("unknown")
    unknown.info = replace(unknown.info, views={}, parameter_count=0)
    known = pool(*images(1, 2), unknown)
    assert tried(known) == ["image-1", "image-2"]
    assert tried(known, names=["unknown", "image-2"]) == ["image-2", "unknown"]
    # What is known is no reason to try one whose facts are not.
    source = FakeSource(*images(1, 2))
    source.unprepared.add("image-2")
    unprepared = BackbonePool(source, lambda backbone: backbone, "image-1")
    assert [
        info.name
        for info in Candidates(unprepared, FineTuneSpec(model="m", backbone="auto"), lambda: None).like(
            unprepared.metadata("image-2"), "image"
        )
    ] == ["image-1"]


def test_named_ones_are_tried_from_the_cheapest_on_whatever_memory_there_is() -> None:
    assert tried(pool(*images(1, 2, 3)), names=["image-3", "image-1"], free=1) == ["image-1", "image-3"]


def test_named_ones_must_be_there_and_of_one_modality() -> None:
    known = pool(*images(1), FakeBackbone("text", modality=Modality.TEXT))
    with pytest.raises(BackboneNotFound, match="There is no backbone 'else'"):
        tried(known, names=["image-1", "else"])
    with pytest.raises(InvalidField, match=r"of one modality\. Received: image, text"):
        tried(known, names=["image-1", "text"])


def test_without_any_that_takes_the_examples_it_says_so() -> None:
    with pytest.raises(InvalidField, match="No backbone of this server supports these examples"):
        tried(pool(*images(1)), "a text")
