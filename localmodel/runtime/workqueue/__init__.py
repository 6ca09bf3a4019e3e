"""Work queues with the semantics of client-go's `util/workqueue`, in three layers and two policies beside them.

`Queue` hands out each item to one worker at a time and folds repeated adds into one. `DelayingQueue` adds "not before",
`RateLimitingQueue` adds "later the more often it failed". How much later is the business of a `RateLimiter`; what is
counted is the business of `QueueMetrics`. Each layer extends the one below by a class of its own, so a worker sees one
object, and a layer can be tested and read alone.
"""

from .delaying import DelayingQueue
from .metrics import QueueMetrics, WorkqueueMetrics
from .queue import Queue
from .rate_limiters import (
    BucketRateLimiter,
    ItemExponentialFailureRateLimiter,
    ItemFastSlowRateLimiter,
    MaxOfRateLimiter,
    RateLimiter,
    WithMaxWaitRateLimiter,
    default_controller_rate_limiter,
    default_item_based_rate_limiter,
)
from .rate_limiting import RateLimitingQueue

__all__ = [
    "BucketRateLimiter",
    "DelayingQueue",
    "ItemExponentialFailureRateLimiter",
    "ItemFastSlowRateLimiter",
    "MaxOfRateLimiter",
    "Queue",
    "QueueMetrics",
    "RateLimiter",
    "RateLimitingQueue",
    "WithMaxWaitRateLimiter",
    "WorkqueueMetrics",
    "default_controller_rate_limiter",
    "default_item_based_rate_limiter",
]
