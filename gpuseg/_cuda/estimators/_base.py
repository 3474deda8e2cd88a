"""What scikit-learn itself serves, on the CPU."""

from __future__ import annotations

from ..._backend import Unserved


def scikit_learn(call, reason):
    raise Unserved(reason)
