"""Every method and weigher on every served student: 20 steps, a new version, parity, an answer of the embedded Triton.

`pytest -m slow tests/training/test_matrix.py -s` prints the matrix: the largest difference of Triton's answer from
PyTorch's, or why a method doesn't apply. The graph of a student is traced once; its weights are put into it.
"""

import asyncio
import os

import numpy as np
import pytest
import torch
from tritonclient.grpc.aio import InferInput

from contract.models import MODELS
from server.inference.triton_engine import TritonEngine
from server.triton.errors import TritonUnavailableError
from server.triton.wheel import find_wheel
from tests.training.served_toys import TOYS
from training.data.exported import versions
from training.distillation import METHODS, WEIGHERS
from training.engine.recipe import recipe_of
from training.engine.tables import RecipeError
from training.engine.trainer import STUDENT, distil
from training.export.onnx_files import PARITY, to_onnx, with_weights
from training.export.versions import add_version, start_repository

STEPS, BATCH = int(os.environ.get("MATRIX_STEPS", "20")), 16
CASES = [*(("method", name) for name in METHODS), *(("weigher", name) for name in WEIGHERS)]


def table(task: str, kind: str, name: str) -> dict[str, object]:
    case = {"methods": [{"name": name}]} if kind == "method" else {"methods": [{"name": "kd"}], "weigher": name}
    budget = {"steps": STEPS, "batch": BATCH}
    return {"task": task, "teachers": ["good", "fair"], "held_out": 0.25, "budget": budget, **case}


async def answer(engine: TritonEngine, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Load what is newest and ask it."""
    await engine._client.load_model(model)
    types = {t.name: t.dtype for t in MODELS[model].inputs}
    requests = []
    for name, array in inputs.items():
        requests.append(InferInput(name, list(array.shape), types[name]))
        requests[-1].set_data_from_numpy(array)
    result = await engine._client.infer(model, requests)
    return {t.name: result.as_numpy(t.name) for t in MODELS[model].outputs}


@pytest.mark.slow
async def test_every_method_and_weigher_on_every_served_student(tmp_path, repository, capsys):
    try:
        find_wheel()
    except TritonUnavailableError as error:
        pytest.skip(str(error))
    out = tmp_path / "repository"
    start_repository(repository, out)
    engine = await TritonEngine.start_embedded(out)
    matrix: dict[tuple[str, str], dict[str, str]] = {case: {} for case in CASES}
    try:
        for model, toy in TOYS.items():
            task, spec, graph = toy(), MODELS[model], None
            for kind, name in CASES:
                folder = tmp_path / model / kind / name
                try:
                    await asyncio.to_thread(distil, recipe_of(table(model, kind, name)), task, folder)
                except RecipeError as error:
                    matrix[kind, name][model] = f"no: {error}"
                    continue
                student = task.student()
                student.load_state_dict(torch.load(folder / STUDENT, weights_only=True))
                student.eval()
                tensors = student.tensors({k: v[:4] for k, v in task.samples("valid").inputs.items()})
                inputs = {t.name: x.contiguous().numpy() for t, x in zip(spec.inputs, tensors, strict=True)}
                graph, _ = (
                    to_onnx(student.model, spec, inputs)
                    if graph is None
                    else with_weights(graph, student.model, spec, inputs)
                )
                version = add_version(out, model, graph, f"{kind} {name}")
                with torch.inference_mode():
                    expected = [x.numpy() for x in student.model(*tensors)]
                served = await answer(engine, model, inputs)
                difference = max(np.abs(served[t.name] - e).max() for t, e in zip(spec.outputs, expected, strict=True))
                assert difference <= PARITY, (model, kind, name)
                assert version == versions(out, model)[-1]
                matrix[kind, name][model] = f"{difference:.0e}"
    finally:
        await engine.close()
    with capsys.disabled():
        print(f"\n| | {' | '.join(TOYS)} |\n{'|---' * (len(TOYS) + 1)}|")
        for (kind, name), row in matrix.items():
            print(f"| {kind} {name} | {' | '.join(row[model] for model in TOYS)} |")
    applied = [cell for row in matrix.values() for cell in row.values() if not cell.startswith("no: ")]
    assert len(applied) > len(matrix) * len(TOYS) / 2
    for (kind, name), row in matrix.items():
        assert any(not cell.startswith("no: ") for cell in row.values()), f"{kind} {name} applies nowhere: {row}"
