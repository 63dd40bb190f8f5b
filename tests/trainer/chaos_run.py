"""Attempts at one run, each a process of its own that can be killed: `python chaos_run.py CONFIG.json`.

Forks a child per line on standard input, so that no attempt has to import torch again, and answers with
its pid. The engine lives in the child's own process; everything else is what `python -m trainer` does.
"""

import os
import sys
from pathlib import Path

import torch
from trainer_factory import LocalEngine

import trainer.__main__ as entry
import trainer.engine.start
import trainer.loop
from trainer.config import RunFile
from trainer.paths import RunPaths


def attempt(path):
    file = RunFile.model_validate_json(path.read_bytes())
    trainer.engine.start.start_engine = lambda model, *_, **__: LocalEngine(Path(model), delays=[0.0, 0.02])
    torch.set_num_threads(1)
    entry._run(file, RunPaths(path.parent), None)


def main():
    path = Path(sys.argv[1])
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            log = os.open(path.with_name("train.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = 1
            try:
                attempt(path)
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
