"""Records what `make demo` shows as docs/images/demo.svg: `python docs/images/make_demo.py`."""

import asyncio
from io import StringIO
from pathlib import Path

from rich.console import Console

from client import MoodstreamClient, Pacer, builtin_clip
from client.display import TableDisplay
from client.local_server import local_server
from client.run import Session

OUT = Path(__file__).with_name("demo.svg")


async def record() -> None:
    """Stream the built-in clip in real time and write the table and the summary."""
    console = Console(record=True, width=100, file=StringIO(), highlight=False, color_system="truecolor")
    clip = builtin_clip()
    async with local_server() as server, MoodstreamClient(server.target) as client:
        session = Session(clip, Pacer())
        await session.run(client, TableDisplay(console, clip, session.position, fast=False))
    OUT.write_text(console.export_svg(title="make demo"))


if __name__ == "__main__":
    asyncio.run(record())
