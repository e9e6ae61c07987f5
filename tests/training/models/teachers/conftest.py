import pytest
import torch

from tests.training.models.teachers.small import MODELS, WIDTHS


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Tensors of a hundred numbers: a second thread would only wait for the first."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    torch.manual_seed(0)
    return MODELS[name](WIDTHS).eval()
