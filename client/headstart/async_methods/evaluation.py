"""Methods that evaluate, compare, report and export versions."""

import asyncio
import os
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Unpack

from headstart.arguments import MeasureSettings, open_measured
from headstart.async_methods.base import AsyncMethods
from headstart.calls import calls
from headstart.exports import ExportFiles
from headstart.inputs.examples import Examples
from headstart.inputs.task import Task, TaskName
from headstart.results import (
    Comparison,
    EvaluationResult,
    Export,
    ExportFormat,
    Report,
    ReportFormat,
    VersionEvaluation,
)
from headstart.transport import upload
from headstart.transport.connection import UploadReport
from headstart.transport.settings import seconds
from headstart.version_ref import VersionRef, parse_version, version_ref


class AsyncEvaluationMethods(AsyncMethods):
    """Evaluate, compare, report and export versions."""

    async def evaluate(
        self,
        examples: Examples | None = None,
        y: Any = None,
        *,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[MeasureSettings],
    ) -> EvaluationResult:
        """Evaluate a version on labeled examples; as `Client.evaluate`."""
        target = version_ref(model, version, alias)
        source, dataset = await asyncio.to_thread(open_measured, examples, y, task=task, settings=settings)
        return await self._connection.upload(upload.evaluation(target, source, dataset), on_upload)

    async def compare(
        self,
        first: VersionRef | str,
        second: VersionRef | str,
        examples: Examples | None = None,
        y: Any = None,
        *,
        task: Task | TaskName | None = None,
        on_upload: UploadReport | None = None,
        **settings: Unpack[MeasureSettings],
    ) -> Comparison:
        """Compare two versions on the same examples; as `Client.compare`."""
        has_examples = any(value is not None for value in (examples, y, *settings.values()))
        values = examples if has_examples else ()
        source, dataset = await asyncio.to_thread(open_measured, values, y, task=task, settings=settings)
        sent = upload.comparison(parse_version(first), parse_version(second), source, dataset)
        return await self._connection.upload(sent, on_upload)

    async def evaluation(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> VersionEvaluation:
        """Return the stored evaluation and findings of a version; as `Client.evaluation`."""
        target = version_ref(model, version, alias)
        return await self._connection.send(calls.version_evaluation(target))

    async def report(
        self,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        *,
        format: ReportFormat = "html",
    ) -> Report:
        """Return the report of a version; as `Client.report`."""
        target = version_ref(model, version, alias)
        return await self._connection.send(calls.version_report(target, format))

    async def export(
        self,
        model: str,
        version: int | None = None,
        alias: str | None = None,
        *,
        format: ExportFormat,
        path: str | os.PathLike[str],
        timeout: float | timedelta | None = None,
    ) -> Export:
        """Export a version with its backbone for other runtimes; as `Client.export`."""
        call = calls.version_export(version_ref(model, version, alias), format)
        limit = None if timeout is None else seconds(timeout)
        with ExportFiles(path) as files:
            async with aclosing(self._connection.receive(call, limit)) as messages:
                async for message in messages:
                    await asyncio.to_thread(files.write, message)
            return await asyncio.to_thread(files.finish)
