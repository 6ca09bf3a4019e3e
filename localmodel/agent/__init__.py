from localmodel.runtime.lazy import import_without

# rich, where it is installed, would colour tracebacks: for that an agent's log is no place, and its memory too small.
import_without("structlog", "rich", "better_exceptions")
