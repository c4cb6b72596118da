"""Makes small networks in PyTorch, TensorFlow and ONNX, with the features that their own frameworks give.

``python tests/foreign_networks.py FOLDER``: a separate process, which imports them all.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart_server.backbones.runtimes.keras_import import load_keras

#: Height and width of the images that networks are made for.
SIZE = 32
#: Of torchvision's networks, which take any.
LARGE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make(folder: Path) -> Mapping[str, np.ndarray]:
    """Make the networks in a folder; returns their features of `sample_images`, by name."""
    # TensorFlow and PyTorch warn of their own parts; nothing here depends on them.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, __file__, str(folder)], check=True, env=environment)
    with np.load(folder / "features.npz") as features:
        return dict(features)


def sample_images(size: int) -> np.ndarray:
    """Three images of smooth colors, uint8 [3, size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size] / size
    waves = np.stack([np.sin(3 * x + shift) * np.cos(5 * y - shift) for shift in range(9)])
    return (128 + 127 * waves).astype(np.uint8).reshape(3, 3, size, size).transpose(0, 2, 3, 1)


def _main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    folder.mkdir(parents=True, exist_ok=True)
    features = {**_of_torch(folder), **_of_onnx(folder), **_of_tensorflow(folder)}
    np.savez(folder / "features.npz", **features)


def _of_torch(folder: Path) -> dict[str, np.ndarray]:
    import torch
    import torchvision
    from safetensors.torch import save_file

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, 2, 1)
            self.norm = torch.nn.BatchNorm2d(8)
            self.second = torch.nn.Conv2d(8, 12, 3, 2, 1)
            self.head = torch.nn.Linear(12, 5)

        def maps(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.second(torch.relu(self.norm(self.first(x)))))

        def features(self, x: torch.Tensor) -> torch.Tensor:
            return self.maps(x).mean((2, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(self.head(self.features(x)), -1)

    torch.manual_seed(1)
    small = _trained(Small())
    one = torch.rand(1, 3, SIZE, SIZE)
    torch.onnx.export(
        small, (one,), str(folder / "small.onnx"), dynamo=False, input_names=["x"], output_names=["classes"]
    )
    torch.export.save(torch.export.export(small, (one,)), str(folder / "small.pt2"))
    varying = {"x": {0: torch.export.Dim("rows", min=1, max=64)}}
    torch.export.save(
        torch.export.export(small, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=varying),
        str(folder / "varying.pt2"),
    )
    torch.save(small.state_dict(), folder / "small.pth")
    pixels = torch.from_numpy(sample_images(SIZE).transpose(0, 3, 1, 2).astype(np.float32))
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad():
        features = {
            "small": small.features(pixels),
            "small maps, bgr": small.maps(pixels.flip(1) * 0.5 - 3).amax((2, 3)),
            "small classes": small(pixels),
        }
        large = (torch.from_numpy(sample_images(LARGE).transpose(0, 3, 1, 2)) / 255 - mean) / std
        resnet = _trained(torchvision.models.resnet18())
        torch.save(resnet.state_dict(), folder / "resnet18.pth")
        features["resnet18"] = torch.nn.Sequential(*list(resnet.children())[:-1])(large).flatten(1)
        features["resnet18 layer3"] = torch.nn.Sequential(*list(resnet.children())[:7])(large).mean((2, 3))
        mobilenet = _trained(torchvision.models.mobilenet_v2())
        save_file(mobilenet.state_dict(), folder / "mobilenet_v2.safetensors")
        features["mobilenet_v2"] = mobilenet.features(large).mean((2, 3))
        for last in (13, 14):
            features[f"mobilenet_v2 {last}"] = mobilenet.features[: last + 1](large).mean((2, 3))
        # Of bottlenecks, twice as wide inside, with a block for each stage.
        block = torchvision.models.resnet.Bottleneck
        wide = _trained(torchvision.models.ResNet(block, [1, 1, 1, 1], width_per_group=128))
        np.savez(folder / "wide.npz", **{name: tensor.numpy() for name, tensor in wide.state_dict().items()})
        features["wide"] = torch.nn.Sequential(*list(wide.children())[:-1])(large).flatten(1)
    return {name: values.numpy() for name, values in features.items()}


def _trained(network: Any) -> Any:
    """The network with batch normalizations as if it had been trained: fresh ones do nothing."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, least in ((module.running_var, 0.5), (module.weight.data, 0.8)):
                tensor.uniform_(least, 1.5)
            for tensor in (module.running_mean, module.bias.data):
                tensor.uniform_(-0.2, 0.2)
    return network.eval()


def _of_onnx(folder: Path) -> dict[str, np.ndarray]:
    """Write a network of channels last and any size, whose tensors lie in a file next to it."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(2)
    kernel = rng.normal(size=(8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["turned", "kernel"], ["sums"], strides=[2, 2]),
        helper.make_node("Relu", ["sums"], ["maps"]),
        helper.make_node("Transpose", ["maps"], ["maps last"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "last",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("maps last", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    external = folder / "external"
    external.mkdir(exist_ok=True)
    onnx.save(
        model, external / "last.onnx", save_as_external_data=True, location="last.weights", size_threshold=0
    )
    session = onnxruntime.InferenceSession(external / "last.onnx", providers=["CPUExecutionProvider"])
    (maps,) = session.run(None, {"pixels": sample_images(SIZE).astype(np.float32)})
    classifier = onnxruntime.InferenceSession(folder / "small.onnx", providers=["CPUExecutionProvider"])
    one = sample_images(SIZE).transpose(0, 3, 1, 2).astype(np.float32)
    rows = [classifier.run(None, {"x": row[None]})[0] for row in one]
    unknown = helper.make_graph(
        [helper.make_node("Riddle", ["pixels"], ["answer"], domain="riddles.example")],
        "riddle",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 4])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("riddles.example", 1)]
    onnx.save(helper.make_model(unknown, opset_imports=opsets, ir_version=9), folder / "riddle.onnx")
    return {"last": maps.mean((1, 2)), "onnx classes": np.concatenate(rows)}


def _of_tensorflow(folder: Path) -> dict[str, np.ndarray]:
    # Imports TensorFlow without the packages that take it longest.
    load_keras()
    import tensorflow as tf

    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")

    class Hub(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            tf.random.set_seed(3)
            self.kernel = tf.Variable(tf.random.normal([3, 3, 3, 8]))
            self.head = tf.Variable(tf.random.normal([8, 5]))

        @tf.function(input_signature=[spec])
        def __call__(self, images: Any) -> Any:
            maps = tf.nn.relu(tf.nn.conv2d(images, self.kernel, 2, "SAME"))
            vectors = tf.reduce_mean(maps, [1, 2])
            return {"feature_vector": vectors, "logits": vectors @ self.head}

        @tf.function(input_signature=[spec])
        def maps(self, images: Any) -> Any:
            return {"maps": tf.nn.relu(tf.nn.conv2d(images, self.kernel, 2, "SAME"))}

        @tf.function(input_signature=[spec])
        def python(self, images: Any) -> Any:
            vectors = tf.numpy_function(lambda values: values.mean((1, 2)), [images], tf.float32)
            return {"feature_vector": tf.reshape(vectors, [-1, 3])}

    hub = Hub()
    tf.saved_model.save(
        hub, folder / "hub", signatures={"serving_default": hub.__call__, "spatial": hub.maps}
    )
    tf.saved_model.save(hub, folder / "python", signatures={"serving_default": hub.python})
    images = tf.constant(sample_images(SIZE).astype(np.float32) / 255)
    return {
        "hub": hub(images)["feature_vector"].numpy(),
        "hub logits": hub(images)["logits"].numpy(),
        "hub maps": hub.maps(images)["maps"].numpy().reshape(3, -1),
    }


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
