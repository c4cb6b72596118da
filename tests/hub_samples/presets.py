"""Presets of KerasHub with random weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_samples.samples import SIDE, TEXT, TEXTS, Features, Samples
from hub_samples.vocabularies import byte_pairs, sentence_pieces, word_pieces


def shake(backbone: Any) -> None:
    """Make no weight what it is made as: zeros and ones would hide where one is not taken."""
    rng = np.random.default_rng(4)
    for weight in backbone.weights:
        weight.assign(weight.numpy() + np.abs(rng.normal(0, 0.1, weight.shape)))


_SHAPE = {"image_shape": (SIDE, SIDE, 3), "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
_SCALED = {"image_size": (SIDE, SIDE), "scale": [1 / 127.5] * 3, "offset": [-1.0, -0.5, 0.0]}


def small_images(hub: Any) -> dict[str, tuple[Any, Any]]:
    """Backbones of images with what scales their pixels, ``vit`` and ``resnet``."""
    models, layers = hub.models, hub.layers
    vit = models.ViTBackbone(patch_size=8, mlp_dim=32, **_SHAPE)
    resnet = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 32],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    return {
        "vit": (vit, layers.ViTImageConverter(**_SCALED)),
        "resnet": (resnet, layers.ResNetImageConverter(**_SCALED)),
    }


def images_of_keras_hub(samples: Samples, hub: Any) -> None:
    models, layers = hub.models, hub.layers
    shape, scaled = _SHAPE, _SCALED
    dino = models.DINOV2Backbone(
        patch_size=8, intermediate_dim=32, **shape, position_embedding_shape=(SIDE * 2, SIDE * 2)
    )
    # The towers are made through their configurations: they have no public names.
    tower = {**shape, "patch_size": 8, "intermediate_dim": 32}
    words = {"vocabulary_size": 50, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    clip = _pair(
        models.CLIPBackbone, "clip.clip", "CLIP", tower, {**words, "embedding_dim": 16}, projection_dim=12
    )
    siglip = _pair(
        models.SigLIPBackbone,
        "siglip.siglip",
        "SigLIP",
        tower,
        {**words, "embedding_dim": 16, "projection_dim": 16},
    )
    made = {
        **small_images(hub),
        "dino": (dino, layers.DINOV2ImageConverter(**scaled)),
        "clip": (clip, layers.CLIPImageConverter(**scaled)),
        "siglip": (siglip, layers.SigLIPImageConverter(**scaled)),
    }
    for name, (backbone, converter) in made.items():
        shake(backbone)
        backbone.save_to_preset(str(samples.folder / name))
        converter.save_to_preset(str(samples.folder / name))
    loaded = {name: models.Backbone.from_preset(str(samples.folder / name)) for name in made}
    clip, siglip = loaded["clip"], loaded["siglip"]

    def given(name: str, rows: Any) -> Any:
        return layers.ImageConverter.from_preset(str(samples.folder / name))(rows)

    def pooled(name: str, pool: Callable[[Features], Features]) -> Callable[[Any], Features]:
        backbone = loaded[name]
        fed = (
            (lambda pixels: {"images": pixels}) if isinstance(backbone.input, dict) else lambda pixels: pixels
        )
        return lambda rows: pool(backbone(fed(given(name, rows))).numpy())

    samples.opened("vit", "kerashub:vit", pooled("vit", lambda tokens: tokens[:, 0]))
    samples.opened("vit-mean", "kerashub:vit", pooled("vit", lambda tokens: tokens.mean(1)), pooling="avg")
    samples.opened("resnet", "kerashub:resnet", pooled("resnet", lambda maps: maps.mean((1, 2))))
    samples.opened("dino", "kerashub:dino", pooled("dino", lambda tokens: tokens[:, 0]))
    samples.opened(
        "clip", "kerashub:clip", lambda rows: clip.get_vision_embeddings(given("clip", rows)).numpy()
    )
    samples.opened(
        "clip-tokens",
        "kerashub:clip",
        lambda rows: clip.vision_encoder({"images": given("clip", rows)}).numpy().max(1),
        layer="tokens",
        pooling="max",
    )
    samples.opened(
        "siglip", "kerashub:siglip", lambda rows: siglip.get_vision_embeddings(given("siglip", rows)).numpy()
    )


def _pair(
    kind: Any, module: str, name: str, tower: dict[str, Any], words: dict[str, Any], **more: Any
) -> Any:
    from importlib import import_module

    parts = {}
    for half, settings in (("vision", tower), ("text", {**words, "max_sequence_length": 8})):
        encoder = getattr(
            import_module(f"keras_hub.src.models.{module}_{half}_encoder"), f"{name}{half.title()}Encoder"
        )
        parts[f"{half}_encoder"] = encoder(**settings)
    return kind(**parts, **more)


def texts_of_keras_hub(samples: Samples, hub: Any) -> None:
    models = hub.models
    sizes = {
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "max_sequence_length": 40,
    }
    tokenizers = {
        "bert": models.BertTokenizer(vocabulary=word_pieces(), lowercase=True),
        "distilbert": models.DistilBertTokenizer(vocabulary=word_pieces()),
        "roberta": models.RobertaTokenizer(*byte_pairs()),
        "xlm-roberta": models.XLMRobertaTokenizer(proto=sentence_pieces()),
    }
    kinds = {
        "bert": models.BertBackbone,
        "distilbert": models.DistilBertBackbone,
        "roberta": models.RobertaBackbone,
        "xlm-roberta": models.XLMRobertaBackbone,
    }
    for name, tokenizer in tokenizers.items():
        backbone = kinds[name](vocabulary_size=tokenizer.vocabulary_size(), **sizes)
        shake(backbone)
        backbone.save_to_preset(str(samples.folder / name))
        tokenizer.save_to_preset(str(samples.folder / name))

        def run(rows: Any, *, of: Any = backbone, by: Any = tokenizer) -> Any:
            ids = ids_of(by, TEXT)[None]
            fed = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
            return of({name: fed[name] for name in of.input})

        def mean(rows: Any, *, run: Any = run) -> Features:
            out = run(rows)
            return (out["sequence_output"] if isinstance(out, dict) else out).numpy().mean(1)

        samples.opened(name, f"kerashub:{name}", mean)
        samples.facts[name]["expected_ids"] = [ids_of(tokenizer, text).tolist() for text in TEXTS]
        if name == "bert":
            samples.opened(
                "bert-pooled",
                "kerashub:bert",
                lambda rows, run=run: run(rows)["pooled_output"].numpy(),
                pooling="none",
                max_tokens=24,
            )


def ids_of(tokenizer: Any, text: str) -> NDArray[np.int32]:
    """Ids of a text by KerasHub, between those that begin and end it."""
    return np.array(
        [tokenizer.start_token_id, *np.asarray(tokenizer(text)).tolist(), tokenizer.end_token_id], np.int32
    )
