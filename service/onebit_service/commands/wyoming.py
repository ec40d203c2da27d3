"""What `onebit wyoming` does; cli.py only names its options."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Sequence
from importlib.util import find_spec

from onebit_service.commands.serving import naming_options, start_process, warn_of_unknown_settings
from onebit_service.errors import InvalidParameterError, SettingError
from onebit_service.settings import Settings


def run_wyoming(uri: str, hotwords: Sequence[str], bits: str | None, model: str | None) -> int:
    """Settings from the environment, with what the command line says on top. The exit code."""
    if find_spec("wyoming") is None:
        raise InvalidParameterError("wyoming", "this command needs the extra wyoming: pip install 'onebit[wyoming]'")
    start_process()
    options = {"default_bits": bits, "model": model}
    with naming_options(options, {"default_bits": "--bits", "model": "--model"}):
        settings = Settings.from_environment(os.environ, options)
        if settings.api_keys or settings.api_keys_file:
            raise SettingError(
                "api_keys", "Wyoming knows no keys: set none, and let nobody but your own reach the port"
            )
        return asyncio.run(_run(settings, uri, hotwords))


async def _run(settings: Settings, uri: str, hotwords: Sequence[str]) -> int:
    from onebit_service.logs import configure_logs
    from onebit_service.server.wyoming import WyomingServer
    from onebit_service.service import Service

    configure_logs(settings)
    warn_of_unknown_settings()
    # Nothing here shows how good the model is, so nothing measures it.
    service = Service(dataclasses.replace(settings, reference_interval_seconds=0))
    return await WyomingServer(service, uri, hotwords).run()
