"""`medgym serve --mcp` and `--openenv`: tools over a record or a case, and the cases themselves, for other programs."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ... import __version__
from ...env.domain import find_task
from ...env.episode import Episode
from ...env.literature import case_literature
from ...tools.console import ENVIRONMENT, CommandError
from ..clinical_toolkit import ClinicalToolkit

if TYPE_CHECKING:
    from .mcp_seats import Source

Ready = Callable[[Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and the key it asks for."""

    host: str
    port: int
    api_key: str | None = None


@dataclass(frozen=True, slots=True)
class ToolsOver:
    """What the tools work on: a case of the suite, or a record with the tools of a domain.

    Attributes:
        case: id of a task.
        record: file of a FHIR bundle or of our JSON.
        domain: whose tools are offered over a record.
        literature: folder of an index; None is the starter literature.
        redact: keep the record out of the log.
    """

    case: str | None = None
    record: Path | None = None
    domain: str = "clinical_diagnosis"
    literature: Path | None = None
    redact: bool = True

    def make(self) -> Source:
        """A fresh case, or the record as it was read.

        Raises:
            CommandError: neither or both are named.
        """
        if (self.case is None) == (self.record is None):
            raise CommandError("say what the tools work on: --case TASK, or --record FILE with --domain")
        if self.case is not None:
            return Episode(find_task(self.case), literature=case_literature(self.literature))
        assert self.record is not None
        return ClinicalToolkit(
            self.domain, self.record, shelf="growing", literature=self.literature, redact=self.redact
        )


def serve_mcp(over: ToolsOver, address: Address | None, ready: Ready) -> None:
    """Serve tools by MCP: over standard input and output where there is no address, else over HTTP until stopped.

    Raises:
        CommandError: the extra is missing, or there is nothing to work on.
    """
    over.make()  # what is wrong with it is said before anything listens
    try:
        from .mcp_server import PATH, http_app, serve_stdio
        from .running import serve

        if address is None:
            serve_stdio(over.make())
            return
        app = http_app(over.make, api_key=address.api_key, hosts=(address.host,))
    except ImportError as error:
        raise CommandError(f'{error} (pip install "medgym[mcp]")', ENVIRONMENT) from error

    def told(url: str) -> None:
        ready({"ready": True, "protocol": "mcp", "url": f"{url}{PATH}", "versions": _versions("mcp")})

    serve(app, address.host, address.port, told)


def serve_openenv(domain: str | None, address: Address, ready: Ready) -> None:
    """Serve a domain's cases, or every domain's, to OpenEnv clients until stopped. Raises CommandError."""
    try:
        from .openenv_server import openenv_app
        from .running import serve

        app = openenv_app(domain, api_key=address.api_key)
    except ImportError as error:
        raise CommandError(f'{error} (pip install "medgym[openenv]")', ENVIRONMENT) from error

    def told(url: str) -> None:
        ready({"ready": True, "protocol": "openenv", "url": url, "domain": domain, "versions": _versions("openenv")})

    serve(app, address.host, address.port, told, sockets=True)


def _versions(package: str) -> dict[str, str]:
    return {"medgym": __version__, package: importlib.metadata.version(package)}
