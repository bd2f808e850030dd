from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.labelled import SQUASH

from headstart import recipe
from headstart.data.targets import Scale, Targets
from headstart.errors import TrainingError
from headstart.images.photo import Photo
from headstart.probe import inputs
from headstart.probe.blocks import Block
from headstart.probe.file_rows import FileRows, folder_for
from headstart.probe.photos import SolvedPhotos, solve_photos
from headstart.probe.solve import Kind, SolvedHead, solve_head
from headstart.records import Record

N, D = 400, 20


@pytest.fixture
def rows() -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(4, D))
    return (3 + centres[np.arange(N) % 4] + 2 * generator.normal(size=(N, D))).astype(np.float32)


def in_file(rows: np.ndarray, folder: Path) -> FileRows:
    found = FileRows((len(rows), rows.shape[1]), folder)
    for first in range(0, len(rows), 150):
        found[first : first + 150] = rows[first : first + 150]
    return found


def targets_of(kind: Kind) -> np.ndarray:
    classes = np.arange(N) % 4
    one_of = classes[:, None] == np.arange(4)
    return {"classes": classes, "labels": one_of.astype(np.float32), "numbers": one_of - 0.25}[kind]


def bits(head: SolvedHead) -> list[object]:
    arrays = (head.weight, head.bias, head.outputs, head.fold)
    return [*(None if each is None else each.tobytes() for each in arrays), head.summary()]


def test_rows_are_read_as_they_were_written_by_any_thread(rows: np.ndarray, tmp_path: Path) -> None:
    kept = in_file(rows, tmp_path)
    assert (kept.shape, kept.size, kept.nbytes, len(kept)) == (rows.shape, rows.size, rows.nbytes, N)
    places = [slice(0, N), slice(7, 9), slice(N - 3, N + 5), slice(5, 5), np.array([3, N - 1, 3])]
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(kept.__getitem__, places * 20)
    for place, values in zip(places * 20, found, strict=True):
        np.testing.assert_array_equal(values, rows[place])


def test_no_file_remains(rows: np.ndarray, tmp_path: Path) -> None:
    kept = in_file(rows, tmp_path)
    other = kept.empty((2, D))
    other[0:2] = rows[:2]
    np.testing.assert_array_equal(kept[0:2], other[0:2])
    del kept, other
    assert not list(tmp_path.iterdir())


def test_rows_that_were_not_written_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"shorter than what was written.*HEADSTART_CACHE"):
        FileRows((N, D), tmp_path)[0:1]


def test_a_full_disk_and_a_folder_that_cannot_be_used_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    assert folder_for(10) == tmp_path / "solving"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(
        TrainingError, match=r"takes 2.5 GB of disk space.*solving, where 1.0 GB are free.*adam"
    ):
        folder_for(2_500_000_000)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    with pytest.raises(TrainingError, match=r"cannot be used in.*another folder"):
        folder_for(10)


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_a_head_from_a_file_has_the_bits_of_one_from_memory(
    kind: Kind, rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for num_bytes in (2**30, rows.nbytes // 3):  # all rows choose the penalty, or a third of them
        monkeypatch.setattr(recipe, "SOME_ROWS_BYTES", num_bytes)
        targets, units = targets_of(kind), np.arange(N) // 2
        heads = [solve_head(each, targets, units, kind, 4) for each in (rows, in_file(rows, tmp_path))]
        assert bits(heads[0]) == bits(heads[1])


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_a_part_of_the_rows_chooses_about_the_penalty_of_all(
    kind: Kind, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, units = targets_of(kind), np.arange(N)
    of_all = solve_head(rows, targets, units, kind, 4)
    monkeypatch.setattr(recipe, "SOME_ROWS_BYTES", rows.nbytes // 2)
    of_some = solve_head(rows, targets, units, kind, 4)
    assert bits(of_some) != bits(of_all)
    assert of_some.cv_loss == pytest.approx(of_all.cv_loss, rel=0.02)
    assert np.log10(of_some.penalties) == pytest.approx(np.log10(of_all.penalties), abs=0.51)


def test_a_file_may_have_more_columns_than_rows(rows: np.ndarray, tmp_path: Path) -> None:
    few, labels, units = rows[:16], targets_of("classes")[:16], np.arange(16)
    found = solve_head(in_file(few, tmp_path), labels, units, "classes", 4)
    expected = solve_head(few, labels, units, "classes", 4)
    np.testing.assert_allclose(found.weight, expected.weight, atol=0.01 * np.abs(expected.weight).max())


def test_features_with_a_value_that_is_not_finite_are_refused(rows: np.ndarray, tmp_path: Path) -> None:
    rows[3, 5] = np.nan
    with pytest.raises(TrainingError, match="1 of 20 features are not finite"):
        solve_head(in_file(rows, tmp_path), targets_of("classes"), np.arange(N), "classes", 4)


@pytest.fixture
def solved(
    rows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[tuple[bool, int], SolvedPhotos]:
    """Heads of 200 photos in two views, by whether their rows were in a file and the number of stages."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    photos = [Record(Photo(f"{n}.jpg"), n % 4, None, f"{n:064x}") for n in range(N // 2)]
    targets = Targets("classification", tuple("abcd"), SQUASH, Scale.of(photos, ()))
    several = [Block("early", 0, 8, 0.7), Block("last", 8, D)]
    found = {}
    for is_in_file in (False, True):
        monkeypatch.setattr(inputs, "has_rows_in_file", lambda *_, wanted=is_in_file: wanted)
        for blocks in ([Block("last", 0, D)], several):
            said: list[str] = []
            found[is_in_file, len(blocks)] = solve_photos(
                photos,
                (1, 2),
                lambda wanted: iter(
                    [rows[int(record.sha256, 16) + (view - 1) * N // 2] for record, view in wanted]
                ),
                blocks,
                targets,
                min_blocks=len(blocks),
                say=said.append,
            )
            assert [("temporary files" in text) for text in said] == [True] * is_in_file
    return found


def test_photos_are_solved_from_a_file_as_in_memory(solved: dict[tuple[bool, int], SolvedPhotos]) -> None:
    memory, file = solved[False, 1], solved[True, 1]
    assert bits(memory.head) == bits(file.head)
    assert memory.outputs.tobytes() == file.outputs.tobytes()
    memory, file = solved[False, 2], solved[True, 2]  # the scales of the stages come from some photos alone
    assert file.reading.stages == ("early",)
    np.testing.assert_allclose(file.outputs, memory.outputs, atol=0.02 * np.abs(memory.outputs).max())


MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from headstart import recipe
from headstart.probe import rotate, solve
from headstart.probe.file_rows import FileRows

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

n, d, k = map(int, sys.argv[1:4])
solve.solve_head(np.ones((8, 8), np.float32), np.arange(8) % 2, np.arange(8), "classes", 2)  # imports
rows, generator = FileRows((n, d), Path(sys.argv[4])), np.random.default_rng(0)
for first in range(0, n, 1000):
    rows[first : first + 1000] = generator.standard_normal((1000, d), np.float32)
before = peak()
recipe.SOME_ROWS_BYTES, rotate._BLOCK_NUMBERS = 2**22, (2**16, 2**17)
solve.solve_head(rows, np.arange(n) % k, np.arange(n), "classes", k, num_threads=2)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read by the module resource")
def test_memory_does_not_grow_with_the_features(tmp_path: Path) -> None:
    n, d, k = 40_000, 400, 2
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(n), str(d), str(k), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < n * d  # in memory, it takes twelve times that
