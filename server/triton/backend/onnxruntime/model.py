"""A Python-based Triton backend that answers to the name `onnxruntime`.

It serves repositories written for Triton's native ONNX Runtime backend, which the wheel does not carry. It runs inside
the Python backend's stub process and imports nothing of Moodstream but `ort_session`, which lies beside it.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]
from ort_session import open_session  # type: ignore[import-not-found]

Tensors = dict[str, Any]


class TritonPythonModel:
    """One instance of one model version; the stub calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session and leave a note about the providers that it really got."""
        config = json.loads(args["model_config"])
        self._session = open_session(
            Path(args["model_repository"], args["model_version"], config["default_model_filename"] or "model.onnx"),
            {key: value["string_value"] for key, value in config["parameters"].items()},
            gpu=int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None,
            tensorrt=_wants_tensorrt(config),
        )
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._batches = config["max_batch_size"] > 0
        _note_providers(args, self._session.get_providers())

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests with one run; if it fails, each alone, so that a bad one can't fail its neighbours."""
        feeds = [self._feed(request) for request in requests]
        if self._batches and len(requests) > 1:
            try:
                results = self._run_together(feeds)
            except Exception as error:
                # Whichever request is to blame gets the error in its own answer below.
                pb_utils.Logger.log_verbose(f"{len(requests)} requests are run one by one, as together: {error}")
            else:
                return [self._response(request, result) for request, result in zip(requests, results, strict=True)]
        return [self._answer(request, feed) for request, feed in zip(requests, feeds, strict=True)]

    def _feed(self, request: Any) -> Tensors:
        found = ((name, pb_utils.get_input_tensor_by_name(request, name)) for name in self._inputs)
        return {name: tensor.as_numpy() for name, tensor in found if tensor is not None}

    def _run(self, feed: Tensors) -> Tensors:
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))

    def _run_together(self, feeds: list[Tensors]) -> list[Tensors]:
        """Run the concatenated feeds and cut the outputs apart again."""
        sizes = [len(next(iter(feed.values()))) for feed in feeds]
        cuts = np.cumsum(sizes)[:-1]
        outputs = self._run({name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]})
        pieces = {name: np.split(array, cuts) for name, array in outputs.items()}
        return [{name: pieces[name][i] for name in self._outputs} for i in range(len(feeds))]

    def _answer(self, request: Any, feed: Tensors) -> Any:
        try:
            return self._response(request, self._run(feed))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def _response(self, request: Any, outputs: Tensors) -> Any:
        names = request.requested_output_names()
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in names])


def _wants_tensorrt(config: dict[str, Any]) -> bool:
    """Tell whether the config asks for TensorRT, in the words of the native backend."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    return any(item["name"] == "tensorrt" for item in accelerators.get("gpu_execution_accelerator", ()))


def _note_providers(args: dict[str, str], providers: list[str]) -> None:
    """Write the note that `server.triton.layout` reads; without the folder's name there is nobody to read it."""
    folder = os.environ.get("MOODSTREAM_SESSION_NOTES")
    if not folder:
        return
    note = {"model": args["model_name"], "version": args["model_version"], "providers": providers}
    path = Path(folder, f"{args['model_instance_name']}-{args['model_version']}.json")
    part = path.with_suffix(".part")
    part.write_text(json.dumps(note), encoding="utf-8")
    part.replace(path)
