"""Pictures in Parquet files: rows in order, their classes, and what is damaged, hostile or too much."""

import dataclasses

import pytest
from tables import drawing, parquet

from genarium.data.own.entries import MIB, Limits
from genarium.data.own.found import look_through
from genarium.data.own.prepare import prepare
from genarium.data.own.sources import training_part
from genarium.data.own.tables import chosen_rows
from genarium.data.own.words import Refused

SMALL = Limits(pictures=50, bytes=40 * MIB, file_bytes=4 * MIB, megapixels=200, entries=400, ratio=60, classes=10)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(*paths, limits=SMALL, **options):
    return look_through([(path.name, path) for path in paths], limits, **options)


def test_rows_and_their_classes_are_found(tmp_path):
    pictures = [drawing(i) for i in range(20)]
    labels = [i % 2 for i in range(18)] + [-1, None]
    path = write(tmp_path / "train-0.parquet", parquet(pictures, labels, ("cat", "d/og"), row_group_size=7))
    result = found(path)
    assert len(result) == 20 and result.classes == {"cat": 9, "d-og": 9} and not result.left_out
    assert result.names[3] == "d-og/train-0 3" and result.labels[18:] == (None, None)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["cat", "dog"] * 5, {"cat": 5, "dog": 5}), ([3, 7] * 5, {"3": 5, "7": 5}), (None, {}), ([0.5, 1.5] * 5, {})],
)
def test_labels_without_names_are_taken_as_they_are(tmp_path, labels, classes):
    path = write(tmp_path / "a.parquet", parquet([drawing(i) for i in range(10)], labels))
    assert found(path).classes == classes


def test_of_more_rows_some_are_taken_at_random_and_the_others_are_counted(tmp_path):
    pictures = [drawing(i) for i in range(30)]
    paths = [
        write(tmp_path / f"{name}.parquet", parquet(pictures[part], [i] * 15, ("cat", "dog")))
        for i, (name, part) in enumerate((("a", slice(15)), ("b", slice(15, 30))))
    ]
    result = found(*paths, limits=dataclasses.replace(SMALL, pictures=10))
    assert len(result) == 10 and set(result.classes) == {"cat", "dog"}
    assert result.counts == {"beyond": 20} and "20 rows more than the 10" in result.left_out[0].reason()
    assert result.to_json()["counts"]["beyond"][0] == 20
    assert chosen_rows([2, 0, 3], 9) == [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)]
    some = chosen_rows([400, 400], 100)
    assert some == chosen_rows([400, 400], 100) == sorted(set(some)) and len(some) == 100
    assert 30 < sum(table for table, _ in some) < 70 and 30 < sum(row % 2 for _, row in some) < 70


def test_rows_that_hold_no_picture_are_left_out_for_a_reason(tmp_path):
    pictures = [*(drawing(i) for i in range(8)), None, b"no picture", drawing(3), b"PK\x03\x04" + bytes(20)]
    result = found(write(tmp_path / "a.parquet", parquet(pictures)))
    assert len(result) == 8
    assert {one.name: one.key for one in result.left_out} == {
        "a 8": "row_empty",
        "a 9": "unreadable",
        "a 10": "copy",
        "a 11": "is_archive",
    }
    assert all(one.reason("zh") for one in result.left_out)


def test_the_data_are_what_was_found(tmp_path):
    import numpy as np

    path = write(tmp_path / "a.parquet", parquet([drawing(i) for i in range(20)], [0, 1] * 10, ("cat", "dog")))
    brought = [(path.name, path)]
    with np.load(prepare(brought, look_through(brought, SMALL), 28, 1, tmp_path / "data.npz", SMALL)) as data:
        assert len(data["train_images"]) + len(data["test_images"]) == 20
        assert list(data["label_names"]) == ["cat", "dog"] and data["train_images"].max() == 200


@pytest.mark.parametrize("key", ["no_table", "no_pictures", "bomb", "file"])
def test_what_is_no_table_of_pictures_is_refused(tmp_path, key):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    if key == "no_table":
        content = parquet([drawing(0)])[:-40] + bytes(40)
    elif key == "no_pictures":
        file = io.BytesIO()
        pq.write_table(pa.table({"text": ["a", "b"], "number": [1, 2]}), file)
        content = file.getvalue()
    elif key == "bomb":
        content = parquet([bytes(4 * MIB)] * 10, compression="zstd", use_dictionary=False)
    else:
        content = parquet([*(drawing(i) for i in range(4)), drawing(9) + bytes(5 * MIB)], compression="none")
    path = write(tmp_path / "a.parquet", content)
    if key == "file":
        assert [one.key for one in found(path).left_out] == ["file_bytes"]
        return
    with pytest.raises(Refused) as refusal:
        found(path)
    assert refusal.value.key == key


def test_a_damaged_page_costs_its_rows_alone_or_the_file_but_never_a_traceback(tmp_path):
    content = bytearray(parquet([drawing(i) for i in range(12)], compression="none", row_group_size=4))
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    try:
        result = found(write(tmp_path / "a.parquet", bytes(content)))
        assert 4 <= len(result) < 12 and len(result) + sum(result.counts.values()) == 12
    except Refused as error:
        assert error.key in ("no_table", "too_few")


def test_a_folder_in_the_hubs_layout_gives_its_training_split(tmp_path):
    write(tmp_path / "data/train-0.parquet", parquet([drawing(i) for i in range(8)], [0, 1] * 4, ("cat", "dog")))
    write(tmp_path / "data/test-0.parquet", parquet([drawing(50 + i) for i in range(8)]))
    write(tmp_path / "other/train-0.parquet", parquet([drawing(80 + i) for i in range(8)]))
    (tmp_path / "README.md").write_text("# A set")
    result = found(tmp_path)
    assert len(result) == 8 and result.classes == {"cat": 4, "dog": 4}
    assert {one.name: one.key for one in result.left_out} == {
        "README.md": "not_picture",
        "data/test-0.parquet": "other_part",
        "other/train-0.parquet": "other_part",
    }


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["a/train-00000.parquet", "a/test-0.parquet"], ["a/train-00000.parquet"]),
        (["x.parquet", "validation.parquet"], ["x.parquet"]),
        (["test/1.png", "test/2.png"], ["test/1.png", "test/2.png"]),
        (["training_set/1.png", "restrained/1.png", "trainer/1.png"], ["training_set/1.png"]),
        (["contest/1.png", "latest.png"], ["contest/1.png", "latest.png"]),
    ],
)
def test_the_training_part_is_told_by_whole_words(names, part):
    assert training_part(names) == part
