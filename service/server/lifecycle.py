"""Lifecycle of the process: the server's signal handler sets it, readiness checks read it."""

from dataclasses import dataclass


@dataclass
class Lifecycle:
    """`is_stopping`: a signal to stop has arrived; requests are still served."""

    is_stopping: bool = False
