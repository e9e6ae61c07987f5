"""Triton Python backend of the `tokenizer` model. The export copies this file to `tokenizer/1/model.py`.

It runs inside Triton with nothing of ours beside it: shapes come from the model's configuration, ids from
`tokenizer.json` in the same folder.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # batches are small, and the front end has its own threads

from tokenizers import Tokenizer  # reads the variable above when imported


class TritonPythonModel:
    """TEXT BYTES [B, 1] -> INPUT_IDS and ATTENTION_MASK INT64 [B, 64], TEXT_MASK FP32 [B, 64]; "" gives zeros."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer and read the length of the outputs from the configuration."""
        outputs = {output["name"]: output for output in json.loads(args["model_config"])["output"]}
        self.tokens = int(outputs["INPUT_IDS"]["dims"][0])
        self.tokenizer = Tokenizer.from_file(str(Path(__file__).with_name("tokenizer.json")))
        self.begin, self.end = self.tokenizer.token_to_id("[CLS]"), self.tokenizer.token_to_id("[SEP]")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; one with invalid UTF-8 gets an error, its neighbours don't."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        raw = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
        try:
            texts = [item.decode("utf-8") for item in raw.reshape(-1)]
        except UnicodeDecodeError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"TEXT is not UTF-8: {error}"))
        ids = np.zeros((len(texts), self.tokens), dtype=np.int64)
        mask = np.zeros((len(texts), self.tokens), dtype=np.int64)
        for row, encoding in enumerate(self.tokenizer.encode_batch(texts, add_special_tokens=False)):
            if encoding.ids:
                framed = [self.begin, *encoding.ids[-(self.tokens - 2) :], self.end]
                ids[row, : len(framed)] = framed
                mask[row, : len(framed)] = 1
        tensors = {"INPUT_IDS": ids, "ATTENTION_MASK": mask, "TEXT_MASK": mask.astype(np.float32)}
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(k, v) for k, v in tensors.items()])
