"""A graph in whole numbers of eight bits: weights by channel, values by what photos of the user give.

Static quantisation (Jacob et al. 2018, arXiv 1712.05877) by onnxruntime: the graph runs on the photos, notes the range
of each value, and then counts in 256 steps of it.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vidi.exported.network import runtime


def quantised(graph: Any, inputs: Iterable[Sequence[Tensor]]) -> Any:
    """Return a graph (`onnx.ModelProto`) in eight bits.

    Args:
        graph: in float32.
        inputs: of batches, whose values say the ranges; at least one.
    """
    runtime()
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        """Hands out the photos one batch after the other."""

        def __init__(self) -> None:
            self.left = iter(inputs)

        def get_next(self) -> Any:
            batch = next(self.left, None)
            names = [entry.name for entry in graph.graph.input]
            return None if batch is None else {k: v.numpy() for k, v in zip(names, batch, strict=False)}

    with tempfile.TemporaryDirectory() as folder:
        whole, ready, small = (str(Path(folder) / name) for name in ("whole.onnx", "ready.onnx", "small.onnx"))
        onnx.save(graph, whole)
        quant_pre_process(whole, ready, skip_symbolic_shape=True)
        kinds: dict[str, Any] = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
        quantize_static(ready, small, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
        return onnx.load(small)
