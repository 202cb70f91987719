/** A worker that loads Pyodide as its documentation says, and gives a first result. */

import { loadPyodide } from "../pyodide/pyodide.mjs";

const pyodide = await loadPyodide();
postMessage(pyodide.runPython("1 + 1"));
