"""Folders as Hugging Face and timm write them, with random weights, and their forward passes in PyTorch."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub_samples.samples import SIDE, Features, Samples
from hub_samples.vocabularies import word_pieces


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
