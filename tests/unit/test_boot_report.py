"""The report of how interpreters started: its tables, and nothing where nothing starts."""

from pyworkers import AssetReport, BootReport, InterpreterReport, WorkerPool, boot_report

REPORT = BootReport(
    assets=(
        AssetReport("pyodide.asm.wasm", 8_812_345, 612.4),
        AssetReport("start.zip", None, 3.2),
    ),
    interpreters=(
        InterpreterReport("hub", (("assets", 700.0), ("restore", 41.6)), 741.6),
        InterpreterReport("worker 12", (("restore", 40.2), ("setup", 0.4)), 233.3),
    ),
)

TABLES = """\
ms         assets  restore  setup  total
hub           700       42           742
worker 12               40      0    233

asset                 bytes   ms
pyodide.asm.wasm  8,812,345  612
start.zip                 ?    3"""


def test_a_report_is_printed_as_two_tables() -> None:
    assert str(REPORT) == TABLES


def test_nothing_is_started_in_mode_inline() -> None:
    with WorkerPool(mode="inline") as pool:
        assert pool.submit(abs, -1).result() == 1
    assert boot_report() == BootReport((), ())
    assert str(boot_report()) == "ms  total\n\nasset  bytes  ms"
