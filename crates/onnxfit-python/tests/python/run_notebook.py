"""Runs the code cells of a notebook in order, as Jupyter would: the last expression of each is shown.

    python run_notebook.py NOTEBOOK FOLDER_OF_EXAMPLES
"""

import ast
import json
import os
import sys
from pathlib import Path

notebook = json.loads(Path(sys.argv[1]).read_text())
os.environ["ONNXFIT_EXAMPLES"] = str(Path(sys.argv[2]).resolve())
names = {"__name__": "__main__"}
for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
    tree = ast.parse("".join(cell["source"]), f"cell {number}")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        if hasattr(shown, "_repr_html_"):
            assert shown._repr_html_().startswith("<"), shown
        print(shown)
