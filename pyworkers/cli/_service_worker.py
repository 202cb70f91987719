"""The service worker of a site: the list of what it keeps, and the hash that tells builds apart.

What it does with them is the shim's business (`service_worker.js`). Knows nothing of what the files
are.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ._site import list_files

_NAME: Final = "service_worker.js"
_EMPTY: Final = 'const BUILD = { id: "", files: [] };'
_NOT_FOR_PAGES: Final = {_NAME, "node.mjs"}


def fill_in(site: Path, more: Iterable[str]) -> None:
    """Write the list into the service worker of a site whose other files are there.

    Arguments:
        site: its folder.
        more: paths, relative to it, and URLs of what belongs to the site and is not there.
    """
    names = [name for name in list_files(site) if name not in _NOT_FOR_PAGES]
    whole = hashlib.sha256()
    for name in names:
        whole.update(hashlib.sha256((site / name).read_bytes()).digest())
    files = sorted({*names, *more})
    whole.update(json.dumps(files).encode())
    script = site / _NAME
    text = script.read_text(encoding="utf-8")
    build = json.dumps({"id": whole.hexdigest()[:16], "files": files})
    assert _EMPTY in text
    script.write_text(text.replace(_EMPTY, f"const BUILD = {build};"), encoding="utf-8")
