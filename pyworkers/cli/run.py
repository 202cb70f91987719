"""`pyworkers run SCRIPT`: Python in Node, with workers on Node's threads and without a browser.

Owns the finding of Node and a site for one run. What happens in Node is `node.mjs`'s business.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from .build import build_site


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--with",
    "extra",
    multiple=True,
    metavar="PACKAGE_OR_WHEEL",
    help="A further package that the script can install; may be given several times.",
)
def run(script: Path, arguments: tuple[str, ...], extra: tuple[str, ...]) -> None:
    """Run SCRIPT in Pyodide under Node, with its ARGUMENTS.

    The current folder and the folder of the script are there under their own names. The exit code
    is that of the script.
    """
    node = shutil.which("node")
    if node is None:
        raise click.ClickException("Node is not on the PATH; version 20 or newer is needed")
    with TemporaryDirectory(prefix="pyworkers-") as folder:
        site = build_site(Path(folder, "site"), extra=extra)
        command: list[str | Path] = [node, site / "node.mjs", script.resolve(), *arguments]
        try:
            code = subprocess.run(command, check=False).returncode
        except KeyboardInterrupt:
            code = 130
    sys.exit(code)
