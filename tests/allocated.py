"""What Python allocates while something is done."""

import gc
import tracemalloc
from collections.abc import Callable


def least_peak(done: Callable[[], object], times: int = 3) -> int:
    """Give the peak in bytes, the least of some times: what other threads allocate meanwhile counts, too."""
    peaks = []
    for _ in range(times):
        gc.collect()
        gc.freeze()  # or what earlier tests have left decides how often garbage is collected
        tracemalloc.start()
        try:
            done()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
            gc.unfreeze()
    return min(peaks)
