"""Thresholds: what they do, which is best, and how they are kept with a checkpoint."""

import json
import math
import shutil

import numpy as np
import pytest

from genarium.checkpoints import open_checkpoint
from genarium.checkpoints.folder import THRESHOLDS, new_checkpoint
from genarium.errors import CheckpointError, InputError
from genarium.tasks.anomaly.calibration import (
    ENOUGH,
    MAX_BYTES,
    Calibration,
    Judge,
    judge_of,
    key_of,
    read_calibration,
    write_calibration,
)
from genarium.tasks.anomaly.decision import (
    Costs,
    best_threshold,
    expected_cost,
    false_alarms,
    precision,
    recall,
)
from genarium.tasks.check.consequences import consequences, report

NORMAL = np.arange(100) / 100
STRANGE = np.array([0.5, 0.95, 1.5, 2.0])


# ---- what a threshold does ----


def test_false_alarms_are_counted_and_their_interval_is_exact():
    found = false_alarms(NORMAL, 0.895)
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((0.0490, 0.1762), abs=1e-4), "Clopper and Pearson for 10 of 100"
    none = false_alarms(NORMAL, 5)
    assert none.value == 0 and none.low == 0 and none.high == pytest.approx(1 - 0.025 ** (1 / 100)), "not zero to zero"
    with pytest.raises(InputError, match="no scores"):
        false_alarms(np.array([]), 0)


def test_recall_and_precision_follow_the_share_of_strange_pictures():
    assert recall(STRANGE, 1.0).value == 0.5
    half = precision(NORMAL, STRANGE, 0.895, 0.5)
    assert half.value == pytest.approx(0.75 / (0.75 + 0.1)) and half.low <= half.value <= half.high
    rare = precision(NORMAL, STRANGE, 0.895, 0.01)
    assert rare.value == pytest.approx(0.0075 / (0.0075 + 0.099)), "the rarer, the more are false alarms"
    assert precision(NORMAL, STRANGE, 9, 0.01).value == 1, "nothing is called strange, so nothing wrongly"


def test_the_interval_of_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        found = recall(random.normal(1, 1, 60), 1.0)  # the truth is one half
        inside += found.low <= 0.5 <= found.high
    assert inside >= 51, "95 % of 60 are 57"


@pytest.mark.parametrize(("miss", "share"), [(1, 0.5), (10, 0.5), (10, 0.01), (0.1, 0.2)])
def test_the_best_threshold_costs_no_more_than_any_other(miss, share):
    random = np.random.default_rng(0)
    normal, strange, costs = random.normal(0, 1, 150), random.normal(2, 1, 40), Costs(1.0, miss, share)
    best = best_threshold(normal, strange, costs)

    def cost(threshold):
        return (1 - share) * np.mean(normal > threshold) + share * miss * np.mean(strange <= threshold)

    assert expected_cost(normal, strange, best.value, costs).value == pytest.approx(cost(best.value))
    assert all(cost(best.value) <= cost(threshold) + 1e-12 for threshold in np.linspace(-4, 6, 201))
    assert best.low <= best.high


def test_dear_misses_lower_the_threshold():
    random = np.random.default_rng(0)
    normal, strange = random.normal(0, 1, 300), random.normal(2, 1, 100)
    cheap, dear = (best_threshold(normal, strange, Costs(1, miss, 0.5)).value for miss in (1, 20))
    assert dear < cheap - 0.5 and cheap == pytest.approx(1, abs=0.5), "the middle, where both cost the same"


@pytest.mark.parametrize(
    "wrong", [(0, 1, 0.5), (1, -1, 0.5), (1, 1, 0), (1, 1, 1), (1, math.nan, 0.5), (math.inf, 1, 0.5)]
)
def test_costs_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        Costs(*wrong)


def test_consequences_say_false_alarms_an_hour():
    judge = Judge(NORMAL.tolist(), Calibration(threshold=0.895))
    found = consequences(judge, 3600, Costs(share=0.01))
    assert found.alarms_per_hour.value == pytest.approx(0.1 * 3600 * 0.99) and found.recall is None
    judge = Judge(NORMAL.tolist(), Calibration(strange={str(s): s for s in STRANGE}, threshold=0.895))
    found = consequences(judge, 3600, Costs(share=0.5))
    assert found.recall.value == 0.75 and found.number_strange == 4
    words = report(judge, 3600, Costs(share=0.5))
    assert "10 (4.9 to 17.6) %" in words and "recall): 75" in words and "threshold of least cost" in words


# ---- who says strange ----


def test_without_a_choice_one_in_twenty_ordinary_pictures_is_strange():
    judge = Judge(NORMAL.tolist(), Calibration())
    assert judge.threshold == pytest.approx(np.quantile(NORMAL, 0.95))
    assert (judge.verdict(0.97), judge.verdict(0.5)) == ("strange", "ordinary")
    assert judge.percentile(0.495) == pytest.approx(50, abs=0.5)


def test_nothing_known_gives_no_verdict():
    judge = Judge(None, Calibration())
    assert judge.threshold is None and judge.verdict(1) is None and judge.percentile(1) is None
    with pytest.raises(InputError, match="No ordinary picture"):
        judge.choose(None, None, Costs())


def test_a_false_alarm_that_is_marked_normal_joins_at_once():
    judge = Judge(NORMAL.tolist(), Calibration())
    before = judge.threshold
    joined = Judge(judge.quantiles, judge.calibration.with_normal({f"{i}.png": 2.0 for i in range(9)}))
    assert joined.threshold > before and joined.verdict(0.97) == "ordinary"
    assert joined.percentile(1.0) < judge.percentile(1.0)


def test_enough_pictures_of_ones_own_count_alone():
    few = Judge(NORMAL.tolist(), Calibration(normal={str(i): 5.0 + i for i in range(ENOUGH - 1)}))
    assert len(few.normal) == 100 + ENOUGH - 1
    many = Judge(NORMAL.tolist(), Calibration(normal={str(i): 5.0 + i for i in range(ENOUGH)}))
    assert len(many.normal) == ENOUGH and many.normal.min() == 5


def test_a_picture_is_normal_or_strange_and_not_both():
    found = Calibration().with_strange({"a": 1.0, "b": 2.0}).with_normal({"a": 1.0})
    assert (found.normal, found.strange) == ({"a": 1.0}, {"b": 2.0})
    assert found.with_strange({"a": 1.0}).normal == {}


def test_a_threshold_is_chosen_by_score_by_share_or_by_cost():
    judge = Judge(NORMAL.tolist(), Calibration(strange={str(s): s for s in STRANGE}))
    assert judge.choose(0.3, None, Costs()).threshold == 0.3
    assert judge.choose(None, 50, Costs()).threshold == pytest.approx(0.495)
    best = judge.choose(None, None, Costs(miss=1, share=0.5)).threshold
    assert best == best_threshold(NORMAL, STRANGE, Costs(miss=1, share=0.5)).value
    plain = Judge(NORMAL.tolist(), Calibration())
    assert plain.choose(None, None, Costs()).calibration.threshold == plain.threshold, "it is fixed now"


# ---- kept with the checkpoint ----


@pytest.fixture
def checkpoint(tiny_checkpoints, tmp_path, families):
    shutil.copytree(tiny_checkpoints / "tiny-autoencoder", tmp_path / "mine")
    return open_checkpoint(tmp_path / "mine", families)


def test_a_calibration_is_kept_by_score_and_parameters(checkpoint):
    one = Calibration({"a.png": 1.5}, {"b.png": 7.0}, 3.0)
    write_calibration(checkpoint, key_of({"score": "both", "class_weight": 5.0}), one)
    other = Calibration(threshold=0.1)
    write_calibration(checkpoint, key_of({"score": "code", "class_weight": 5.0}), other)
    assert judge_of(checkpoint, {"score": "both", "class_weight": 5.0}).calibration == one
    assert judge_of(checkpoint, {"score": "code", "class_weight": 5.0}).calibration == other
    assert judge_of(checkpoint, {"score": "both", "class_weight": 0.0}).calibration == Calibration(), "another scale"
    assert judge_of(checkpoint, {"score": "both", "class_weight": 5.0}, class_given=True).calibration == Calibration()


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "null", '{"scores": 3}', '{"scores": {"default": 3}}',
        '{"scores": {"default": {"threshold": "high"}}}', '{"scores": {"default": {"threshold": true}}}',
        '{"scores": {"default": {"normal": {"a": NaN}}}}', '{"scores": {"default": {"normal": [1, 2]}}}',
        "[" * 100_000, '{"scores": {"default": {"threshold": 1e999}}}',
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_none_and_is_replaced(checkpoint, text):
    (checkpoint.folder / THRESHOLDS).write_text(text)
    assert read_calibration(checkpoint.folder, "default") == Calibration()
    write_calibration(checkpoint, "default", Calibration(threshold=2.0))
    assert read_calibration(checkpoint.folder, "default").threshold == 2.0


def test_a_file_that_is_too_large_is_not_read(checkpoint):
    text = json.dumps({"scores": {"default": {"threshold": 1.0}}})
    (checkpoint.folder / THRESHOLDS).write_text(text + " " * MAX_BYTES)
    assert read_calibration(checkpoint.folder, "default") == Calibration()


def test_a_checkpoint_of_the_hubs_cache_is_not_written_to(checkpoint, tmp_path):
    index = checkpoint.folder / "model_index.json"
    shutil.move(index, tmp_path / "blob")
    index.symlink_to(tmp_path / "blob")
    with pytest.raises(CheckpointError, match="cache"):
        write_calibration(checkpoint, "default", Calibration(threshold=1.0))
    assert not (checkpoint.folder / THRESHOLDS).exists()


def test_new_weights_do_not_keep_the_threshold_of_the_old(checkpoint):
    write_calibration(checkpoint, "default", Calibration(threshold=1.0))
    (checkpoint.folder / "notes.txt").write_text("mine")
    index = (checkpoint.folder / "model_index.json").read_text()
    with new_checkpoint(checkpoint.folder) as folder:
        (folder / "model_index.json").write_text(index)
    assert not (checkpoint.folder / THRESHOLDS).exists() and (checkpoint.folder / "notes.txt").exists()
