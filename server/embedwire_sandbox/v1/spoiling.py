"""Applies a scripted fault to the response of the v1 dialect, before it is written."""

from contextlib import aclosing
from dataclasses import replace

from embedwire_sandbox.faults.injection import InjectedFault
from embedwire_sandbox.faults.script import Fault
from embedwire_sandbox.v1.result import Document, Result, Segments, segments_of


def spoiled(document: Document, injected: InjectedFault) -> Document:
    """Return the document, modified by the fault."""
    fault = injected.fault
    if fault is None:
        return document
    results = tuple(_result(result, injected, fault) for result in document.results)
    return Document(None if fault.kind == "no_model_name" else document.model_name, results)


def _result(result: Result, injected: InjectedFault, fault: Fault) -> Result:
    if result.segments is None or fault.modality not in (None, result.modality):
        return result
    if fault.kind == "no_segments":
        return replace(result, segments=None)
    if fault.kind == "modality_error":
        return replace(result, segments=segments_of(), error_message=fault.message)
    return replace(result, segments=_with_vectors(result.segments, injected))


async def _with_vectors(segments: Segments, injected: InjectedFault) -> Segments:
    async with aclosing(segments):
        async for segment in segments:
            yield replace(segment, vector=injected.changed(segment.vector))
