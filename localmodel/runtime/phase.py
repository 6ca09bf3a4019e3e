"""`Phase`: what a reflector is doing, in words for people, logs and health checks; and how a failure is explained."""

from __future__ import annotations

import enum

from .errors import ApiError, ForbiddenError, NotFoundError


class Phase(enum.Enum):
    """A failure's phase stays, through its retries, until it is overcome."""

    LISTING = "Listing"
    WATCHING = "Watching"
    FAILING = "Failing"
    """Waiting after, or retrying, something that is none of the two below."""
    KIND_MISSING = "KindMissing"
    """The server does not serve the kind (404). Left by itself once the CRD is installed."""
    FORBIDDEN = "Forbidden"
    """This user may not list or watch the kind (403). Left by itself once the right is granted."""
    STOPPED = "Stopped"

    @classmethod
    def of_failure(cls, error: Exception) -> Phase:
        if isinstance(error, NotFoundError):
            return cls.KIND_MISSING
        return cls.FORBIDDEN if isinstance(error, ForbiddenError) else cls.FAILING


def explain(error: Exception) -> str:
    """The reason first, as people search for it, then what the server said."""
    if isinstance(error, NotFoundError):
        return f"{error.reason} ({error.code}): the server does not serve this kind; is its CRD installed? ({error})"
    if isinstance(error, ApiError):
        return f"{error.reason} ({error.code}): {error}"
    return f"{type(error).__name__}: {error}"
