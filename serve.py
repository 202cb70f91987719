"""`python serve.py [DIR]`: the development server, straight from a checkout."""

try:
    from pyworkers.cli.serve import serve
except ModuleNotFoundError as missing:
    raise SystemExit(f"serve.py needs {missing.name}: pip install -e '.[serve]'") from None

if __name__ == "__main__":
    serve()
