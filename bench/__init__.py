"""The benchmarks: ``python -m bench``, one file per figure in ``figures``.

Each figure is a contest: pyworkers and its peers take turns in the same run, so that whatever
disturbs the machine disturbs all of them. The parts::

    __main__            the command
    table, docs, plot   how results are shown
    figures             what is measured
    contest             rounds, and what comes of them
    lab                 a built site, a browser's pages
    browsers            how Chromium is started
    processes, machine  what the operating system tells
    statistics          plain numbers

``pages`` holds what runs in the browser, ``inside`` the Python that runs in Pyodide (or, for a
peer, in CPython).
"""
