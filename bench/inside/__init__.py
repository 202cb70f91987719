"""What runs inside Pyodide. Each file is also importable there by its bare name."""
