"""Small networks of KerasHub, Hugging Face and timm, and what other code than the server's makes of them.

``python hub_samples.py FOLDER``: a process of its own, for Keras stays in it. It writes each network's
folder, into ``features.npz`` its features: ``NAME/expected`` by KerasHub or PyTorch alone, ``NAME/keras`` and
``NAME/openvino`` by the network that the source opens, and ``NAME/other`` of another input by it; and into
``facts.json`` what the sources say.
"""

import hashlib
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.declaration import Declaration
from headstart_server.backbones.golden import golden_picture
from headstart_server.backbones.openvino_import import load_openvino
from headstart_server.backbones.pictures import MAX_PIXELS
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.source import SourceError

SIDE = 32
COMMIT = "0123456789" * 4
TEXT = "The Quick fox, naïve; jumps over the lazy dog!"
#: Those that are converted for OpenVINO here, which takes seconds; a server converts two more.
CONVERTED = {"clip", "bert"}
#: Texts whose ids are compared; some have what tokenizers treat in ways of their own.
TEXTS = [
    TEXT,
    "fox",
    "  two  spaces, and 漢字 ",
    "unaffable (dogs) over-quick",
    "dog's day; it isn't ÜBER",
    "a_b^c$d",
]
CORPUS = [TEXT, *TEXTS, "the dog and the fox are quick and lazy", "jumps and days over dogs and foxes"] * 4

Features = NDArray[np.float32]


@dataclass
class Samples:
    """What was made.

    Attributes:
        folder: of all folders.
        features: by ``NAME/KIND``.
        facts: by name what the source says.
    """

    folder: Path
    features: dict[str, Features] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def opened(
        self, name: str, source: str, expected: Callable[[Any], Features] | None = None, **settings: Any
    ) -> None:
        """Open a declared network, run it on a picture or a text in Keras and OpenVINO, and the reference.

        Args:
            name: of the sample.
            source: scheme and folder within this one.
            expected: from rows of the decoder to features by other code.
            settings: of the declaration.
        """
        scheme, _, place = source.partition(":")
        declaration = Declaration(name=name, source=f"{scheme}:{self.folder / place}", **settings)
        opener = source_of(declaration)
        network = opener.open(declaration, self.folder / "cache")
        decoder = network.decoding.decoder(max_pixels=MAX_PIXELS)
        content: Any = golden_picture() if network.info.modality.value == "image" else TEXT
        rows = decoder.decode(content)[None]
        if expected is not None:
            self.features[f"{name}/expected"] = expected(rows)
        self.features[f"{name}/keras"] = network.model(rows, training=False)["last"].numpy()
        other = rows[..., ::-1] if rows.dtype == np.uint8 else np.where(rows == rows[0, 1], rows[0, 2], rows)
        self.features[f"{name}/other"] = network.model(other, training=False)["last"].numpy()
        if name in CONVERTED:
            path = self.folder / "openvino" / f"{name}.xml"
            path.parent.mkdir(exist_ok=True)
            network.model.export(str(path), format="openvino", verbose=False)
            openvino = load_openvino()
            compiled = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            self.features[f"{name}/openvino"] = compiled(rows)[0].copy()
        self.facts[name] = {
            "modality": network.info.modality.value,
            "known_modality": opener.modality(declaration).value,
            "views": dict(network.info.views),
            "input_size": list(network.info.input_size),
            "weights": network.weights,
            "crop": getattr(network.decoding, "crop", None),
        }
        if network.info.modality.value == "text":
            self.facts[name]["ids"] = [
                [one for one in decoder.decode(text).tolist() if one != network.decoding.pad_id]
                for text in TEXTS
            ]


def main(folder: Path) -> None:
    """Make all of them."""
    samples = Samples(folder)
    server = HuggingFace(folder)
    # Read when Keras and the hub's client are imported, which importing KerasHub does.
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", HF_ENDPOINT=server.url)
    import keras
    import keras_hub

    keras.utils.set_random_seed(1)
    pictures_of_keras_hub(samples, keras_hub)
    texts_of_keras_hub(samples, keras_hub)
    bert_of_hugging_face(samples)
    resnet_of_timm(samples)
    vit_of_hugging_face(samples, keras_hub)
    refusals(samples, server)
    np.savez(folder / "features.npz", **samples.features)
    (folder / "facts.json").write_text(json.dumps(samples.facts))


def shake(backbone: Any) -> None:
    """Make no weight what it is made as: zeros and ones would hide where one is not taken."""
    rng = np.random.default_rng(4)
    for weight in backbone.weights:
        weight.assign(weight.numpy() + np.abs(rng.normal(0, 0.1, weight.shape)))


def pictures_of_keras_hub(samples: Samples, hub: Any) -> None:
    models, layers = hub.models, hub.layers
    shape = {"image_shape": (SIDE, SIDE, 3), "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
    scaled = {"image_size": (SIDE, SIDE), "scale": [1 / 127.5] * 3, "offset": [-1.0, -0.5, 0.0]}
    vit = models.ViTBackbone(patch_size=8, mlp_dim=32, **shape)
    resnet = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 32],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
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
        "vit": (vit, layers.ViTImageConverter(**scaled)),
        "resnet": (resnet, layers.ResNetImageConverter(**scaled)),
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


def word_pieces() -> list[str]:
    letters = sorted({letter for text in TEXTS for letter in text + text.lower() if not letter.isspace()})
    words = ["the", "The", "quick", "fox", "jump", "##s", "lazy", "dog", "##able", "over", "day"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *words, *letters, *(f"##{one}" for one in letters)]))


def byte_pairs() -> tuple[dict[str, int], list[str]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    model = json.loads(made.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


def sentence_pieces() -> bytes:
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=made,
        vocab_size=90,
        hard_vocab_limit=False,
        model_type="unigram",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    return made.getvalue()


def bert_of_hugging_face(samples: Samples) -> None:
    """A folder as sentence-transformers writes it, and its forward pass in PyTorch."""
    import torch
    import torch.nn.functional as nn
    from safetensors.torch import save_file

    folder, width, heads, layers = samples.folder / "hf-bert", 16, 2, 2
    (folder / "1_Pooling").mkdir(parents=True)
    vocabulary = word_pieces()
    generator = torch.Generator().manual_seed(2)
    state: dict[str, Any] = {}

    def weight(name: str, *shape: int, about: float = 0.0) -> None:
        state[name] = torch.randn(shape, generator=generator) * 0.3 + about

    def normal(name: str) -> None:
        weight(f"{name}.weight", width, about=1.0)
        weight(f"{name}.bias", width)

    def dense(name: str, rows: int, columns: int) -> None:
        weight(f"{name}.weight", rows, columns)
        weight(f"{name}.bias", rows)

    weight("embeddings.word_embeddings.weight", len(vocabulary), width)
    weight("embeddings.position_embeddings.weight", 40, width)
    weight("embeddings.token_type_embeddings.weight", 2, width)
    normal("embeddings.LayerNorm")
    for layer in range(layers):
        place = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{place}.attention.self.{part}", width, width)
        dense(f"{place}.attention.output.dense", width, width)
        normal(f"{place}.attention.output.LayerNorm")
        dense(f"{place}.intermediate.dense", 32, width)
        dense(f"{place}.output.dense", width, 32)
        normal(f"{place}.output.LayerNorm")
    dense("pooler.dense", width, width)
    save_file(state, folder / "model.safetensors")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "vocab_size": len(vocabulary),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": width,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
    }
    places = ["models.Transformer", "models.Pooling", "models.Normalize"]
    for name, content in {
        "config.json": config,
        "tokenizer_config.json": {"do_lower_case": True, "tokenizer_class": "BertTokenizer"},
        "modules.json": [{"type": f"sentence_transformers.{one}"} for one in places],
        "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 20},
    }.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")

    def forward(rows: Any) -> Features:
        def linear(x: Any, name: str) -> Any:
            return nn.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

        def normalized(x: Any, name: str) -> Any:
            return nn.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

        ids = torch.tensor(rows[rows != 0].astype(np.int64))[None]
        x = (
            state["embeddings.word_embeddings.weight"][ids]
            + state["embeddings.token_type_embeddings.weight"][0]
        )
        x = normalized(
            x + state["embeddings.position_embeddings.weight"][: ids.shape[1]], "embeddings.LayerNorm"
        )
        for layer in range(layers):
            place = f"encoder.layer.{layer}"
            split = (
                linear(x, f"{place}.attention.self.{part}")
                .reshape(1, -1, heads, width // heads)
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            attended = nn.scaled_dot_product_attention(*split).transpose(1, 2).reshape(1, -1, width)
            attended = linear(attended, f"{place}.attention.output.dense")
            x = normalized(attended + x, f"{place}.attention.output.LayerNorm")
            inner = nn.gelu(linear(x, f"{place}.intermediate.dense"))
            x = normalized(linear(inner, f"{place}.output.dense") + x, f"{place}.output.LayerNorm")
        return nn.normalize(x.mean(1)).numpy()

    samples.opened("hf-bert", "hf:hf-bert", forward)


def resnet_of_timm(samples: Samples) -> None:
    """A folder as timm writes it, and its forward pass in PyTorch."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    torch.manual_seed(3)

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.downsample = None
            if before != after:
                self.downsample = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
                )

        def forward(self, x: Any) -> Any:
            kept = x if self.downsample is None else self.downsample(x)
            x = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(x + kept)

    class ResNet18(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.pool = nn.MaxPool2d(3, 2, 1)
            widths = [64, 64, 128, 256, 512]
            for place, (before, after) in enumerate(pairwise(widths), 1):
                blocks = [Block(before, after, 1 if place == 1 else 2), Block(after, after, 1)]
                setattr(self, f"layer{place}", nn.Sequential(*blocks))

        def forward(self, x: Any) -> Any:
            x = self.pool(torch.relu(self.bn1(self.conv1(x))))
            for place in range(1, 5):
                x = getattr(self, f"layer{place}")(x)
            return x.mean((2, 3))

    network = ResNet18().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # otherwise nothing would show that they were taken
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    folder = samples.folder / "resnet18"
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    said = {"input_size": [3, 64, 64], "mean": mean, "std": std, "crop_pct": 0.95, "interpolation": "bicubic"}
    config = {"architecture": "resnet18", "num_classes": 1000, "num_features": 512, "pretrained_cfg": said}
    (folder / "config.json").write_text(json.dumps(config))

    def forward(rows: Any) -> Features:
        x = (torch.tensor(rows).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
        with torch.no_grad():
            return network(x.permute(0, 3, 1, 2)).numpy()

    samples.opened("timm-resnet", "timm:resnet18", forward)


def vit_of_hugging_face(samples: Samples, hub: Any) -> None:
    """A folder as Hugging Face writes it, of the weights of the preset ``vit``."""
    from safetensors.numpy import save_file

    folder = samples.folder / "hf-vit"
    folder.mkdir()
    backbone = hub.models.Backbone.from_preset(str(samples.folder / "vit"))
    save_file(vit_state(backbone), folder / "model.safetensors")
    config = {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        "image_size": SIDE,
        "patch_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    processor = {
        "do_resize": True,
        "size": {"shortest_edge": SIDE + 8},
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.25, 0.2],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))

    def forward(rows: Any) -> Features:
        pixels = (rows / 255 - np.array(processor["image_mean"])) / np.array(processor["image_std"])
        return backbone(pixels.astype(np.float32)).numpy()[:, 0]

    samples.opened("hf-vit", "hf:hf-vit", forward)


def vit_state(backbone: Any) -> dict[str, NDArray[np.float32]]:
    """Weights of a ViT of KerasHub by the names of Hugging Face."""
    state: dict[str, NDArray[np.float32]] = {}
    embedding, encoder = backbone.layers[1], backbone.layers[2]

    def keep(name: str, layer: Any) -> None:
        kernel, bias = (one.numpy() for one in layer.weights)
        if kernel.ndim == 1:
            state[f"{name}.weight"] = kernel
        else:
            # An attention's kernels are split into heads: what comes in is the first axis, or all but one.
            rows = kernel.shape[0] if bias.ndim == 2 else -1
            flat = kernel.reshape(rows, bias.size)
            state[f"{name}.weight"] = np.ascontiguousarray(flat.T)
        state[f"{name}.bias"] = bias.reshape(-1)

    kernel, bias = (one.numpy() for one in embedding.patch_embedding.weights)
    state["vit.embeddings.patch_embeddings.projection.weight"] = np.ascontiguousarray(
        kernel.transpose(3, 2, 0, 1)
    )
    state["vit.embeddings.patch_embeddings.projection.bias"] = bias
    state["vit.embeddings.cls_token"] = embedding.class_token.numpy()
    state["vit.embeddings.position_embeddings"] = embedding.position_embedding.embeddings.numpy()[None]
    for place, block in enumerate(encoder.encoder_layers):
        name = f"vit.encoder.layer.{place}"
        for part in ("query", "key", "value"):
            keep(f"{name}.attention.attention.{part}", getattr(block.mha, f"{part}_dense"))
        keep(f"{name}.attention.output.dense", block.mha.output_dense)
        keep(f"{name}.layernorm_before", block.layer_norm_1)
        keep(f"{name}.layernorm_after", block.layer_norm_2)
        keep(f"{name}.intermediate.dense", block.mlp.dense_1)
        keep(f"{name}.output.dense", block.mlp.dense_2)
    keep("vit.layernorm", encoder.layer_norm)
    return state


class HuggingFace:
    """A hub on the loopback with one repository, ``tiny/bert``: the folder ``hf-bert``, and code beside it.

    Args:
        folder: of all folders.
    """

    def __init__(self, folder: Path) -> None:
        files = folder / "hf-bert"
        self.served: list[str] = []
        served = self.served

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                names = [one.relative_to(files).as_posix() for one in files.rglob("*") if one.is_file()]
                names += ["modeling.py", "pytorch_model.bin"]
                if path.startswith("/api/models/tiny/bert/revision/"):
                    self._answer(json.dumps({"id": "tiny/bert", "sha": COMMIT, "siblings": []}).encode())
                elif path.startswith("/api/models/tiny/bert/tree/"):
                    rows = [
                        {"type": "file", "path": name, "size": self._size(name), "oid": "0"} for name in names
                    ]
                    self._answer(json.dumps(rows).encode())
                elif path.startswith(f"/tiny/bert/resolve/{COMMIT}/"):
                    name = path.removeprefix(f"/tiny/bert/resolve/{COMMIT}/")
                    served.append(name)
                    self._answer((files / name).read_bytes() if (files / name).is_file() else b"1/0")
                else:
                    self._answer(b"{}", 404)

            def do_HEAD(self) -> None:
                self.do_GET()

            def _size(self, name: str) -> int:
                return (files / name).stat().st_size if (files / name).is_file() else 3

            def _answer(self, body: bytes, code: int = 200) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def refusals(samples: Samples, server: HuggingFace) -> None:
    """What becomes of handles with a hub and without one, and of a server without KerasHub."""
    cache = samples.folder / "cache"

    def opened(source: str, **settings: Any) -> Any:
        declaration = Declaration(name="any", source=source, **settings)
        try:
            network = source_of(declaration).open(declaration, cache)
        except SourceError as error:
            return str(error)
        return network.weights

    said: dict[str, Any] = {"downloaded": opened("hf:tiny/bert", modality="text")}
    said["served"] = sorted(server.served)
    said["unknown repository"] = opened("hf:tiny/none")
    server.close()
    said["offline"] = opened("hf:tiny/bert", modality="text")
    said["unreachable"] = opened("hf:tiny/other")
    said["unknown preset"] = opened("kerashub:no_such_preset")
    folder = samples.folder
    said["too long"] = opened(f"kerashub:{folder / 'bert'}", max_tokens=41)
    said["no such layer"] = opened(f"kerashub:{folder / 'vit'}", layer="nowhere")
    said["wrong size"] = opened(f"kerashub:{folder / 'vit'}", size=64)
    said["text as pictures"] = opened(f"kerashub:{folder / 'bert'}", modality="image", size=32, scale=1.0)
    said["settings of pictures"] = opened(f"kerashub:{folder / 'bert'}", size=64)
    (folder / "vit" / "image_converter.json").rename(folder / "vit" / "elsewhere")
    said["unknown scale"] = opened(f"kerashub:{folder / 'vit'}")
    (folder / "vit" / "elsewhere").rename(folder / "vit" / "image_converter.json")
    installed = sys.modules["keras_hub"]
    sys.modules["keras_hub"] = None  # type: ignore[assignment]  # importing it fails so
    said["not installed"] = opened(f"kerashub:{folder / 'vit'}")
    sys.modules["keras_hub"] = installed
    samples.facts["said"] = said


if __name__ == "__main__":
    main(Path(sys.argv[1]))
