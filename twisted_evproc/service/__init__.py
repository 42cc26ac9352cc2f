"""
How events fit into an application: Twisted services, the Zope component architecture, the reactor's own events.

Nothing here needs more than the package itself, but for registering without a site manager and for ZCML: those need the extra
``zca``.
"""

from ._flow import FlowService
from ._services import DispatcherService, PumpService, SourceService, TransportService, UtilityService
from ._stack import ServiceStack
from ._system_events import SystemEvent, SystemEventBridge, bridge_system_events
from ._utility import look_up, register, unregister

__all__ = [
    # Twisted services
    "DispatcherService",
    "FlowService",
    "PumpService",
    "ServiceStack",
    "SourceService",
    "TransportService",
    "UtilityService",
    # utilities of the Zope component architecture
    "look_up",
    "register",
    "unregister",
    # the reactor's system events
    "SystemEvent",
    "SystemEventBridge",
    "bridge_system_events",
]
