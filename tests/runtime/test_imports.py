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
from diffusers import DPMSolverMultistepScheduler, LMSDiscreteScheduler, UNet2DModel
from diffusers.hooks.first_block_cache import FBCHeadBlockHook
from diffusers.utils.torch_utils import is_compiled_module

usual = torch.compiler.disable
assert "torch._dynamo" not in sys.modules and "scipy.stats" not in sys.modules
assert "scipy.integrate" not in sys.modules
lms = LMSDiscreteScheduler()  # by integrals of scipy.integrate
lms.set_timesteps(4)
assert lms.get_lms_coefficient(2, 1, 0)
assert not hasattr(usual, "deferred"), "torch is as it was"
line = torch.nn.Linear(2, 2)
assert not is_compiled_module(line) and "torch._dynamo" not in sys.modules
scheduler = DPMSolverMultistepScheduler(use_beta_sigmas=True)  # by the quantiles of scipy.stats
scheduler.set_timesteps(4)
import scipy.stats
import scipy.integrate
assert scipy.integrate is sys.modules["scipy.integrate"] and scipy.integrate.__file__
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


WITHOUT_TABLES = """
import sys
import genarium
import gradio
assert not {"pandas", "gradio.cli"}.intersection(sys.modules)
with gradio.Blocks() as app:
    app._queue.events_recorded = 1
    assert app._queue.compute_analytics_summary({"event": {}}) and "pandas" not in sys.modules  # after each event
from gradio.caching import _hash_repr
same = _hash_repr(print)
assert "pandas" in sys.modules  # asked whether this is a table
import pandas
assert _hash_repr(pandas.DataFrame({"a": [1]})) == _hash_repr(pandas.DataFrame({"a": [1]})) != same
import gradio.cli
assert gradio.cli.cli and gradio.cli.deploy.__module__.startswith("gradio.cli") and gradio.deploy is not gradio.cli.deploy
print("as it should be")
"""
SIGNATURES = """
import inspect
import genarium
import gradio
import gradio.blocks
for component in (gradio.Image, gradio.Slider, gradio.Row):
    for _ in range(2):
        assert gradio.blocks.inspect.signature(component.__init__) == inspect.signature(component.__init__)
assert gradio.blocks.inspect.signature(print) == inspect.signature(print)
assert gradio.blocks.inspect.isclass(int) and inspect.signature is not gradio.blocks.inspect.signature
print("as it should be")
"""


@pytest.mark.parametrize("program", [WITHOUT_EXTRAS, WITHOUT_STUBS, WITHOUT_TABLES, SIGNATURES])
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
