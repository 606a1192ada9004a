"""Two machines train and measure one model: two launchers with a rendezvous of their own, here on one machine's loopback."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import one_node
import pytest
import yaml
from ports import free_port

from genarium import paths
from genarium.errors import InputError

LONG = 240


class Nodes:
    """Two launchers, as on two machines, with one process each: torchrun's, or accelerate's with the file of docs/."""

    def __init__(self, work: str, folder: Path, launcher: str = "torchrun", **environment: str):
        port = free_port()
        self.folder, self.torchruns = folder, []
        self.logs = [(folder / f"node-{node}.txt").open("w") for node in range(2)]
        for node, log in enumerate(self.logs):
            words = _torchrun(node, port) if launcher == "torchrun" else _accelerate(node, port, folder)
            command = [sys.executable, "-m", *words, one_node.__file__, work, str(folder)]
            path = os.pathsep.join(sys.path)
            settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **environment}
            self.torchruns.append(subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log))

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, *exception) -> None:
        for torchrun in self.torchruns:
            if torchrun.poll() is None:
                torchrun.terminate()  # it ends the process that it started
                torchrun.wait(60)
        for log in self.logs:
            log.close()

    def kill(self, node: int) -> None:
        """End one machine at once: its torchrun and the process that this started."""
        torchrun = self.torchruns[node]
        started = [int((self.folder / f"process-{rank}").read_text()) for rank in range(2)]
        own = [process for process in started if _parent(process) == torchrun.pid]
        assert len(own) == 1
        torchrun.kill()
        os.kill(own[0], signal.SIGKILL)

    def wait(self) -> list[int]:
        """Return the exit codes of both."""
        return [torchrun.wait(LONG) for torchrun in self.torchruns]

    def said(self) -> str:
        """Return the ends of what both have written."""
        return "\n".join((self.folder / f"node-{node}.txt").read_text()[-3000:] for node in range(2))


def _torchrun(node: int, port: int) -> list[str]:
    words = ["torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d"]
    words += ["--rdzv_endpoint", f"127.0.0.1:{port}", "--rdzv_id", "test", "--rdzv_conf", f"is_host={1 - node}"]
    return [*words, "--local_addr", "127.0.0.1"]


def _accelerate(node: int, port: int, folder: Path) -> list[str]:
    values = yaml.safe_load((paths.ROOT / "docs/accelerate-two-machines.yaml").read_text())
    values |= {"num_processes": 2, "main_process_ip": "127.0.0.1", "main_process_port": port}
    (folder / "accelerate.yaml").write_text(yaml.safe_dump(values))
    return ["accelerate.commands.launch", "--config_file", str(folder / "accelerate.yaml"), "--machine_rank", str(node)]


def _parent(process: int) -> int:
    status = Path(f"/proc/{process}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])


def saved_step(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):  # it is being exchanged
        return json.loads((folder / "run/state/state.json").read_text())["step"]
    return 0


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses of one process with the whole batch, and its folder."""
    folder = tmp_path_factory.mktemp("alone")
    return one_node.train_here(folder), folder


def losses_of(folder: Path) -> dict[int, float]:
    return {int(step): loss for step, loss in json.loads((folder / "train.json").read_text()).items()}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_nodes_have_the_losses_of_one_process_with_the_whole_batch(launcher, alone, tmp_path):
    with Nodes("train", tmp_path, launcher) as nodes:
        assert nodes.wait() == [0, 0], nodes.said()
    assert losses_of(tmp_path) == pytest.approx(alone[0], rel=1e-4) and len(alone[0]) == one_node.STEPS
    assert (tmp_path / "checkpoint/model_index.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the process of a torchrun in /proc")
def test_a_run_goes_on_after_a_node_was_killed(alone, tmp_path):
    with Nodes("train", tmp_path, PAUSE="0.2") as nodes:
        deadline = time.monotonic() + LONG
        while saved_step(tmp_path) < one_node.SAVE_EVERY:
            assert all(torchrun.poll() is None for torchrun in nodes.torchruns), nodes.said()
            assert time.monotonic() < deadline, nodes.said()
            time.sleep(0.05)
        nodes.kill(1)
        assert nodes.torchruns[0].wait(LONG) != 0, "a node that is left alone does not train on by itself"
    step = saved_step(tmp_path)
    assert one_node.SAVE_EVERY <= step < one_node.STEPS and not (tmp_path / "checkpoint").exists()
    with Nodes("train", tmp_path) as nodes:
        assert nodes.wait() == [0, 0], nodes.said()
    losses = losses_of(tmp_path)
    assert sorted(losses) == list(range(step + 1, one_node.STEPS + 1))
    assert losses == pytest.approx({step: alone[0][step] for step in losses}, rel=1e-4)


@pytest.mark.slow
def test_figures_are_those_of_one_process(alone, tmp_path):
    shutil.copytree(alone[1] / "checkpoint", tmp_path / "checkpoint")
    figures = one_node.evaluate_here(alone[1])
    with Nodes("evaluate", tmp_path) as nodes:
        assert nodes.wait() == [0, 0], nodes.said()
    shared = json.loads((tmp_path / "evaluate.json").read_text())
    assert [(f["name"], f["n"]) for f in shared] == [(f["name"], f["n"]) for f in figures] and len(figures) > 4
    for one, two in zip(figures, shared, strict=True):
        assert two["value"] == pytest.approx(one["value"], rel=1e-5), one["name"]


@pytest.mark.parametrize("way", ["FSDP", "DEEPSPEED"])
def test_divided_weights_are_refused_before_any_work(way, tmp_path, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_USE_{way}", "true")
    with pytest.raises(InputError, match=f"asked for {way}"):
        one_node.train_here(tmp_path)
    assert not list(tmp_path.iterdir())
