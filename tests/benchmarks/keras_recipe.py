"""The usual way to fine-tune with Keras, to compare with: the frozen base in the graph of every epoch.

Run as a separate program: reads the images from an .npz file, prints seconds and accuracy as JSON, and
writes the probabilities of the other half next to it. With `augment` among its arguments images are flipped
and turned again in each epoch, as Keras' guide to transfer learning does.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from headstart_server.backbones.catalog import Catalog

EPOCHS = 20


def main(path: str, augment: bool) -> None:
    """Train on `train_rows` and `train_labels` of a file, and test on its other half."""
    keras.utils.set_random_seed(0)
    data = np.load(path)
    base = Catalog().network()
    base.trainable = False
    inputs = keras.Input(data["train_rows"].shape[1:], dtype="uint8")
    images = inputs
    if augment:
        turned = keras.layers.RandomRotation(0.1)(keras.layers.RandomFlip("horizontal")(inputs))
        images = keras.layers.Lambda(lambda rows: keras.ops.cast(rows, "uint8"))(turned)
    features = base(images, training=False)["last"]
    outputs = keras.layers.Dense(int(data["train_labels"].max()) + 1)(keras.layers.Dropout(0.2)(features))
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    started = time.perf_counter()
    model.fit(data["train_rows"], data["train_labels"], epochs=EPOCHS, batch_size=32, verbose=0)
    seconds = time.perf_counter() - started
    logits = model.predict(data["test_rows"], verbose=0)
    np.save(path.replace(".npz", ".npy"), np.array(keras.ops.softmax(logits)))
    accuracy = float((logits.argmax(axis=1) == data["test_labels"]).mean())
    json.dump({"seconds": seconds, "accuracy": accuracy}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], "augment" in sys.argv)
