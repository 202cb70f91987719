"""Settings that all tests of this folder share."""

from hypothesis import settings

# Machines of continuous integration pause; each test has its own time limit instead.
settings.register_profile("pyworkers", deadline=None, print_blob=True)
settings.load_profile("pyworkers")
