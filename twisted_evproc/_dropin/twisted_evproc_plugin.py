"""What ``twist`` finds: installed as ``twisted.plugins.twisted_evproc_plugin``."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

evproc = ServiceMaker(
    "twisted_evproc", "twisted_evproc.cli._twist", "Run an event dispatcher or processor on the events of its sources.", "evproc"
)
