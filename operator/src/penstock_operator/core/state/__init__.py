"""What people look at: the state of every service as plain numbers, and its recent past."""

from penstock_operator.core.state.build import Facts, history_point, service_state
from penstock_operator.core.state.types import Change, ServiceState, State

__all__ = ["Change", "Facts", "ServiceState", "State", "history_point", "service_state"]
