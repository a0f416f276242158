"""Runs the Python programs of a page and compares what they print with their `# prints:` lines.

usage: run_docs.py PAGE EXAMPLES
"""

import contextlib
import io
import os
import pathlib
import re
import sys
import tempfile

page, examples = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
folder = pathlib.Path(tempfile.mkdtemp(prefix="onnxfit-docs-"))
(folder / "examples").symlink_to(examples)
os.chdir(folder)
names = {}
wrong = 0
for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S):
    lines = block.splitlines()
    wanted = [line[len("# prints:") :].strip() for line in lines if line.startswith("# prints:")]
    program = "\n".join(line for line in lines if not line.startswith("# prints:"))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, page.name, "exec"), names)
    got = printed.getvalue().splitlines()
    if got != wanted:
        wrong += 1
        print(f"{page.name}: printed {got}, the page says {wanted}")
sys.exit(1 if wrong else 0)
