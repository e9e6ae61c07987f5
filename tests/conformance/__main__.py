"""Tries the rules of docs/protocol.md on a running server: `python -m tests.conformance HOST:PORT [RULE...]`.

With a token: the environment's MOODSTREAM_TOKEN_FILE names its file. Exits with 1 when a rule does not hold.
"""

import asyncio
import os
import sys
import traceback
from pathlib import Path

from tests.conformance.cases import RULES
from tests.conformance.harness import name_of, peer_at


async def main(address: str, token: str, wanted: list[str]) -> int:
    """Run the cases of the wanted rules, of all by default."""
    failures = 0
    async with peer_at(address, token) as peer:
        for number in sorted(RULES, key=lambda rule: [int(part) for part in rule.split(".")]):
            for case in RULES[number] if not wanted or number in wanted else []:
                try:
                    await case(peer)
                    verdict = "ok"
                except Exception:
                    traceback.print_exc()
                    verdict, failures = "FAILED", failures + 1
                print(f"{number:5} {verdict:7} {name_of(case)}", flush=True)
    print(f"{failures} failed" if failures else "every rule holds")
    return int(failures > 0)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    token_file = os.environ.get("MOODSTREAM_TOKEN_FILE")
    token_or_nothing = Path(token_file).read_text().strip() if token_file else ""
    sys.exit(asyncio.run(main(sys.argv[1], token_or_nothing, sys.argv[2:])))
