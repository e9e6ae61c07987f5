"""The server's command line: `python -m server --help`."""

import asyncio
import logging
import os
import signal
import sys

# gRPC's C core would write a line for every client's mistake, past the log and without a bound.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from server.app import AccessError, PortError, serve
from server.command_line import read_settings
from server.inference.engine import EngineError
from server.inference.repository import RepositoryError
from server.inference.select import EngineSetupError
from server.rpc.tls import TlsError
from server.settings import ServerSettings
from server.triton.errors import TritonError


def main() -> int:
    """Serve until a signal comes; return the exit code."""
    settings = read_settings(sys.argv[1:], os.environ)
    if settings.print_config:
        print(settings.to_toml(), end="")
        return 0
    logging.basicConfig(
        level=logging.INFO if settings.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        asyncio.run(_until_signalled(settings))
    except (EngineSetupError, TritonError, EngineError, RepositoryError, PortError, TlsError, AccessError) as error:
        print(f"moodstream: {error}", file=sys.stderr)
        return 1
    return 0


async def _until_signalled(settings: ServerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)


if __name__ == "__main__":
    sys.exit(main())
