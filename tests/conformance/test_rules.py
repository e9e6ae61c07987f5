import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.app import Running, running_server
from server.settings import ServerSettings
from tests.conformance.cases import RULES
from tests.conformance.harness import Case, name_of, peer_at

ROOT = Path(__file__).parents[2]
CASES = list(dict.fromkeys(case for cases in RULES.values() for case in cases))
SHOWN_ELSEWHERE = {"1.9": "tests/server/rpc/test_recovery.py: needs a model that goes away"}


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Running]:
    settings = ServerSettings(repository=ROOT / "model_repository", engine="onnxruntime", port=0)
    async with running_server(settings) as running:
        yield running


def test_every_rule_of_the_guide_has_a_case():
    guide = (ROOT / "protos" / "guide.md").read_text()
    rules = re.findall(r"^- \*\*(\d+\.\d+)\*\*", guide, re.MULTILINE)
    assert len(rules) == len(set(rules)) > 40
    assert set(rules) == set(RULES) | set(SHOWN_ELSEWHERE)


@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_rule(server: Running, case: Case):
    async with peer_at(server.address) as peer:
        await case(peer)
    async with asyncio.timeout(5):
        while any(one.connection is not None for one in server.front.sessions.values()):
            await asyncio.sleep(0.01)
