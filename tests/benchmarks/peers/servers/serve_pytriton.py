"""Serves the variants with NVIDIA Triton through PyTriton.

As its examples for images and for several instances do: files as bytes, a batcher that waits for 5 ms, and
a list of inference callables, one for each core. Of many variants each has one callable: together they fill
the cores, and the instances of a model race for a socket at its start, which fails now and then.
"""

import os
import sysconfig

import numpy as np
from network import MAX_BATCH, Network, Settings, read_settings
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main() -> None:
    """Serve until the process is signaled to stop."""
    settings = read_settings()
    # Triton's own Python processes are to find the library of this Python, not another one of the system.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    http_port, metrics_port = settings.spare_ports[:2]
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=settings.port,
        http_address="127.0.0.1",
        http_port=http_port,
        metrics_port=metrics_port,
    )
    with Triton(config=config, workspace=f"{settings.work}/triton") as triton:
        for name in settings.variants:
            bind(triton, name, settings)
        triton.serve()


def bind(triton: Triton, name: str, settings: Settings) -> None:
    """Give Triton one variant."""
    network = Network(name, settings)
    instances = settings.workers if len(settings.variants) == 1 else 1

    @batch
    def infer(image: np.ndarray) -> dict[str, np.ndarray]:
        return {"probabilities": network.classify([file for (file,) in image])}

    triton.bind(
        model_name=name,
        infer_func=[infer] * instances,
        # Not np.bytes_, which would lose zeros at a file's end.
        inputs=[Tensor(name="image", dtype=object, shape=(1,))],
        outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(10,))],
        config=ModelConfig(
            max_batch_size=MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=5000)
        ),
        strict=False,
    )


if __name__ == "__main__":
    main()
