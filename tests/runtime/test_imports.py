"""What other packages do at their import that the app does without: it is left out, and works when it is asked for."""

import os
import subprocess
import sys

import pytest

from genarium import imports, paths

WITHOUT_EXTRAS = """
import sys
import genarium
import torch
from diffusers import DPMSolverMultistepScheduler, UNet2DModel
from diffusers.hooks.first_block_cache import FBCHeadBlockHook
from diffusers.utils.torch_utils import is_compiled_module

usual = torch.compiler.disable
assert "torch._dynamo" not in sys.modules and "scipy.stats" not in sys.modules
assert not hasattr(usual, "deferred"), "torch is as it was"
line = torch.nn.Linear(2, 2)
assert not is_compiled_module(line) and "torch._dynamo" not in sys.modules
scheduler = DPMSolverMultistepScheduler(use_beta_sigmas=True)  # by the quantiles of scipy.stats
scheduler.set_timesteps(4)
import scipy.stats
assert scipy.stats is sys.modules["scipy.stats"] and scipy.stats.__file__ and len(scheduler.timesteps) == 4
compiled = torch.compile(line, backend="eager")
assert is_compiled_module(compiled) and not is_compiled_module(line)
assert torch.equal(compiled(torch.ones(1, 2)), line(torch.ones(1, 2)))
print("as it should be")
"""
WITHOUT_STUBS = """
import genarium
from pathlib import Path
import gradio, gradio.component_meta
written = []
Path.write_text = lambda path, *_, **__: written.append(path)
from gradio.events import Events
class Mine(gradio.HTML):
    EVENTS = [Events.click]
with gradio.Blocks():
    assert Mine("x").click(lambda: None) is not None
assert not written, written
print("as it should be")
"""


@pytest.mark.parametrize("program", [WITHOUT_EXTRAS, WITHOUT_STUBS])
def test_what_is_left_out_at_an_import_works_when_it_is_asked_for(program):
    done = subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "as it should be" in done.stdout, done.stderr


def test_torch_is_told_to_wait_asleep_before_it_is_imported():
    program = "import os, sys, genarium; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    for given, said in ((None, "passive"), ("active", "active")):
        environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": given} if given else {}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [said, "False"]


def test_a_module_is_found_as_before_and_once():
    imports.mend()
    imports.mend()
    assert sum(isinstance(finder, imports._Mender) for finder in sys.meta_path) == 1
    with pytest.raises(ModuleNotFoundError):
        __import__("diffusers.no_such_module")
