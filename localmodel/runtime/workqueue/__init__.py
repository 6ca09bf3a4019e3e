"""Work queues with the semantics of client-go's `util/workqueue`, in three layers, and one with priorities.

`Queue` hands out each item to one worker at a time and folds repeated adds into one. `DelayingQueue` adds "not before",
`RateLimitingQueue` adds "later the more often it failed". `PriorityQueue` is the latter with another order: the highest
priority first. Users of a queue ask for a `WorkQueue`, which both of these are. How much later is the business of a
`RateLimiter`; what is counted is the business of `QueueMetrics`. Each layer extends the one below by a class of its
own, so a worker sees one object, and a layer can be tested and read alone; `queue` says why by inheritance.
"""

from .delaying import DelayingQueue
from .interface import LOW_PRIORITY, AddOptions, WorkQueue
from .metrics import QueueMetrics, WorkqueueMetrics
from .priority import PriorityQueue
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
    "LOW_PRIORITY",
    "AddOptions",
    "BucketRateLimiter",
    "DelayingQueue",
    "ItemExponentialFailureRateLimiter",
    "ItemFastSlowRateLimiter",
    "MaxOfRateLimiter",
    "PriorityQueue",
    "Queue",
    "QueueMetrics",
    "RateLimiter",
    "RateLimitingQueue",
    "WithMaxWaitRateLimiter",
    "WorkQueue",
    "WorkqueueMetrics",
    "default_controller_rate_limiter",
    "default_item_based_rate_limiter",
]
