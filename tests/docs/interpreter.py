"""The Python interpreter of a page: runs blocks as they arrive on standard input, and keeps their names."""

from __future__ import annotations

import ast as _ast
import json as _json
import os as _os
import sys as _sys
import traceback as _traceback


def _run(code: str, page: str, line: int) -> int:
    """Run a block, display the value of a last expression as a notebook does, and return an exit code."""
    names = vars(_sys.modules["__main__"])
    try:
        tree = _ast.parse("\n" * line + code, page)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], _ast.Expr) else None
        exec(compile(tree, page, "exec"), names)
        if last is not None:
            value = eval(compile(_ast.Expression(last.value), page, "eval"), names)
            if value is not None:
                print(repr(value))
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        _traceback.print_exception(error)
        return 1
    return 0


if __name__ == "__main__":
    _replies = _os.fdopen(int(_sys.argv[1]), "w")
    for _request in _sys.stdin:
        _block = _json.loads(_request)
        _os.chdir(_block["cwd"])
        _os.environ.update(_block["environment"])
        _code = _run(_block["code"], _block["page"], _block["line"])
        _sys.stdout.flush()
        _sys.stderr.flush()
        print(_code, file=_replies, flush=True)
