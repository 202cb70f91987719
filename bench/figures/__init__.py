"""What is measured: a figure in each module."""

from typing import Final

from bench.contest import Figure
from bench.figures.big_argument import FIGURE as big_argument
from bench.figures.call_awaited import FIGURE as call_awaited
from bench.figures.call_blocking import FIGURE as call_blocking
from bench.figures.call_page import FIGURE as call_page
from bench.figures.cpu_scaling import FIGURE as cpu_scaling
from bench.figures.first_visit import FIGURE as first_visit
from bench.figures.map_throughput import FIGURE as map_throughput
from bench.figures.memory import FIGURE as memory
from bench.figures.messages import FIGURE as messages
from bench.figures.overhead import FIGURE as overhead
from bench.figures.page_frames import FIGURE as page_frames
from bench.figures.page_start import FIGURE as page_start
from bench.figures.pools import FIGURE as pools
from bench.figures.queues import FIGURE as queues
from bench.figures.shared_object import FIGURE as shared_object
from bench.figures.standby import FIGURE as standby
from bench.figures.start import FIGURE as start
from bench.figures.submit_throughput import FIGURE as submit_throughput

FIGURES: Final[dict[str, Figure]] = {
    figure.name: figure
    for figure in (
        call_blocking,
        call_awaited,
        call_page,
        submit_throughput,
        overhead,
        map_throughput,
        messages,
        queues,
        big_argument,
        shared_object,
        cpu_scaling,
        page_frames,
        start,
        standby,
        page_start,
        first_visit,
        memory,
        pools,
    )
}
"""In the order in which they are measured and shown."""
