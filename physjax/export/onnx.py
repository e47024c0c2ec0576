"""ONNX: the whole network as a graph that runs in onnxruntime and many other programs."""

from __future__ import annotations

import json
from pathlib import Path

from physjax import files
from physjax.export import onnx_ops, onnx_shapes
from physjax.export.format import ExportError, ExportFormat
from physjax.export.network import PortableNetwork
from physjax.export.onnx_graph import IR_VERSION, OPSET, Graph, Tensor, trace
from physjax.train.weights.errors import needed

_LARGEST = 2**31 - 1
"""Bytes of a file, which is one message of protocol buffers."""
_USAGE = """\
import onnxruntime

session = onnxruntime.InferenceSession("NAME")
(logits,) = session.run(["logits"], {"images": images})  # any number of images
"""


def write(network: PortableNetwork, path: Path) -> None:
    """Write a graph with the input `images` and the output `logits`; the batch is free.

    Raises:
      WeightsError: onnx is not installed.
      ExportError: the network computes something that is not known.
    """
    onnx = needed("onnx")
    helper, kinds = needed("onnx.helper"), onnx.TensorProto
    graph = Graph(onnx_ops.HANDLERS | onnx_shapes.HANDLERS)
    program = trace(network.function(), network.input_shape)
    images = graph.start("images", program.in_avals[0].shape)
    (found,) = graph.run(program.jaxpr, program.consts, [images])
    assert isinstance(found, Tensor)
    graph.nodes.append(helper.make_node("Identity", [graph.whole(found)], ["logits"]))
    classes = network.info.num_classes
    made = helper.make_graph(
        graph.nodes,
        network.config.model.name,
        [helper.make_tensor_value_info("images", kinds.UINT8, ["batch", *network.input_shape])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", classes])],
        graph.initializers,
    )
    model = helper.make_model(
        made,
        producer_name="physjax",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, {"class_names": json.dumps(network.info.class_names)})
    if model.ByteSize() > _LARGEST:
        raise ExportError("the network has more than 2 GiB, which one ONNX file cannot hold")
    onnx.checker.check_model(model)
    files.atomic_write(path, model.SerializeToString())


ONNX = ExportFormat(
    name="onnx",
    suffix=".onnx",
    holds="An ONNX graph (opset 18) from uint8 images to logits, its weights inside; the class "
    "names are in its metadata.",
    usage=_USAGE,
    write=write,
)
