"""The saved state of a run: one whole version of it survives a kill at any moment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from genarium.data.stream import Position
from genarium.errors import GenariumError
from genarium.files import exchange, matcher, remove_tree
from genarium.recipe import Recipe
from genarium.training.run_folder import STATE_FILES, RunFolder


def save_state(
    accelerator: Accelerator,
    run: RunFolder,
    recipe: Recipe,
    step: int,
    seconds: float,
    stage: int,
    position: Position | None = None,
) -> None:
    """Write the state beside the old one, then exchange the two.

    Args:
        accelerator: holds what is saved.
        run: where.
        recipe: what must not change until the run goes on.
        step, seconds, stage: what the run has done.
        position: of this process in a stream.

    Raises:
        GenariumError: it cannot be written, as on a full disk; the state before it is whole.
    """
    temporary = run.path / "state.part"
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(temporary))
        if position is not None:
            place = {**asdict(position), "processes": accelerator.num_processes}
            _position_file(accelerator, temporary).write_text(json.dumps(place))
        accelerator.wait_for_everyone()  # each process writes a part of it
        if accelerator.is_main_process:
            facts = {"step": step, "seconds": seconds, "stage": stage, **_identity(recipe)}
            (temporary / "state.json").write_text(json.dumps(facts))
            exchange(temporary, run.state, run.path / "state.old", ours=matcher(STATE_FILES))
    except Exception as error:  # the system's, safetensors' and torch's own errors all mean that it cannot be written
        if accelerator.is_main_process:
            remove_tree(temporary)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise GenariumError(
            f"The state of step {step} cannot be saved in {run.path}: {reason}. Make room or mend the folder's permissions, "
            "then run the same again: it goes on from the state saved before."
        ) from error
    accelerator.wait_for_everyone()


def saved_state(run: RunFolder, recipe: Recipe, continues: bool = False) -> tuple[Path | None, dict[str, Any]]:
    """Return the last whole state, if any: its folder and {"step": steps done, "seconds": spent, "stage": index of the stage}.

    A recipe that has got further stages since goes on from a run that was finished without them.

    Args:
        continues: more images than before were asked for.

    Raises:
        GenariumError: it is of another recipe, or damaged.
    """
    damaged = None
    for folder in (run.state, run.path / "state.old"):
        if not folder.is_dir() or not any(map(matcher(STATE_FILES), os.listdir(folder))):
            continue
        try:
            facts = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            facts = {"stage": 0, **facts, "step": int(facts["step"]), "seconds": float(facts["seconds"])}
        except (OSError, ValueError, KeyError, TypeError):
            damaged = damaged or folder
            continue
        changed = [k for k, v in _identity(recipe).items() if not _goes_on(facts.get(k), v, k, continues)]
        if changed:
            raise GenariumError(
                f"{folder} was saved with another {' and '.join(changed)} than the recipe has now. Put the recipe back, go on "
                "to more images with --continue, or begin anew with --fresh."
            )
        return folder, facts
    if damaged:
        raise GenariumError(f"{damaged}: the saved state is damaged: no readable state.json. Begin anew with --fresh.")
    return None, {"step": 0, "seconds": 0.0, "stage": 0}


def load_state(accelerator: Accelerator, state: Path) -> None:
    """Load a saved state into what accelerate has prepared.

    Raises:
        GenariumError: a file of it is damaged, missing, or fits another network.
    """
    try:
        accelerator.load_state(str(state))
    except Exception as error:  # torch, pickle, safetensors and the system each have their own errors
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise GenariumError(
            f"{state}: the saved state is damaged or of another training: {reason} Begin anew with --fresh."
        ) from error


def load_position(accelerator: Accelerator, state: Path) -> Position:
    """Return the position of this process in the stream that a saved state was trained on.

    Raises:
        GenariumError: it is damaged, or of another number of processes, which have other shards.
    """
    try:
        values = json.loads(_position_file(accelerator, state).read_text(encoding="utf-8"))
        processes = values.pop("processes")
        position = Position(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        processes, position = _saved_processes(state), None
        if processes == accelerator.num_processes:
            raise GenariumError(f"{state}: the position in the stream is damaged. Begin anew with --fresh.") from error
    if position is None or processes != accelerator.num_processes:
        raise GenariumError(
            f"{state} was saved by {processes} processes, each with its own part of the stream, and now there are "
            f"{accelerator.num_processes}. Start as many as before, or begin anew with --fresh."
        )
    return position


def _position_file(accelerator: Accelerator, state: Path) -> Path:
    return state / f"position_{accelerator.process_index}.json"


def _saved_processes(state: Path) -> int:
    return len(list(state.glob("position_*.json")))


def _identity(recipe: Recipe) -> dict[str, Any]:
    """Return what must not change between a saved state and the run that goes on from it."""
    spec = recipe.training
    facts = {"architecture": dict(recipe.architecture), "batch_size": spec.batch_size, "images": spec.images}
    if spec.stages:
        sections = [spec.of_stage(stage) for stage in spec.stages]
        facts["stages"] = [[a.name, b.images, b.batch_size] for a, b in zip(spec.stages, sections, strict=True)]
    return json.loads(json.dumps(facts))


def _goes_on(before: Any, now: Any, key: str, continues: bool) -> bool:
    """Return whether a saved fact allows the run to go on. The recipe may have got stages since, after the others."""
    if before == now or (key == "images" and continues and isinstance(before, int) and now >= before):
        return True
    if key != "stages" or not before:
        return False
    if continues and len(now) >= len(before):  # the last stage that there was may have got longer
        (name, images, size), (now_name, now_images, now_size) = before[-1], now[len(before) - 1]
        longer = (name, size) == (now_name, now_size) and now_images >= images
        return now[: len(before) - 1] == before[:-1] and longer
    return now[: len(before)] == before
