"""Every default on every data set: the one place where a default is judged.

    python -m benchmarks.defaults FOLDER --out new.csv [--only tiles] [--recipes probe] [--seeds 0 1 2]
    python -m benchmarks.defaults --out new.csv --report [--against old.csv | --versus fastai]

FOLDER holds data sets: folders of class folders, or folders with a table.csv. Each run is a process and a row
of the CSV, written when it is done. The command continues where it stopped. A failed run is a row with its
reason; delete the row to repeat it. Folds and answers are kept beside the CSV. With --ray, the runs are
tasks of a Ray cluster, as many side by side as it has room for; its nodes must share the folders.

The recipe "fastai" is its ``fine_tune`` with three frozen epochs and two others, for backbones of
torchvision; it needs ``pip install fastai``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.folds import write_tables
from headstart.answers.file import read_answers, write_answers
from headstart.answers.intervals import Interval, of_mean, of_paired_proportions, wilson
from headstart.cluster.connection import connected
from headstart.cluster.tasks import in_tasks
from headstart.errors import HeadstartError

FASTAI = "fastai"
KEYS = ("data", "backbone", "recipe", "seed", "fold")
FIELDS = (*KEYS, "photos", "accuracy", "loss", "seconds", "error")


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def answers_path(out: Path, row: dict[str, str]) -> Path:
    """Return where the answers of a run are kept."""
    name = "-".join(row[key].replace("/", "_") for key in KEYS)
    return out.with_suffix(".answers") / f"{name}.csv"


def tables_of(data: Path, folder: Path, *, plain: bool) -> list[Path]:
    """Return the tables of a data set, which are made once, so that all runs have the same folds."""
    if not folder.exists():
        table, part = data / "table.csv", folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        write_tables(table if table.exists() else data, part, plain=plain)
        part.rename(folder)
    return sorted(folder.iterdir())


def train(table: Path, row: dict[str, str], out: Path) -> dict[str, str]:
    """Train in a process of its own, keep its answers, and return the rest of the row."""
    with tempfile.TemporaryDirectory() as run:
        found = Path(run, "run", "answers.csv")
        if row["recipe"] == FASTAI:
            found.parent.mkdir()
            command = [sys.executable, "-m", "benchmarks.by_fastai", str(table), "--answers", str(found)]
            command += ["--epochs", "3", "--unfrozen-epochs", "2"]
        else:
            command = [sys.executable, "-m", "headstart", "train", str(table), "--out", str(found.parent)]
            command += ["--recipe", row["recipe"]]
        command += ["--seed", row["seed"]]
        command += [] if row["backbone"] == "default" else ["--backbone", row["backbone"]]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = f"{time.perf_counter() - begun:.2f}"
        if done.returncode:
            reason = " ".join(done.stderr.split())[-500:]
            return {"seconds": seconds, "error": f"exit code {done.returncode}: {reason}"}
        answers = read_answers(found).of_source("val")
    answers_path(out, row).parent.mkdir(exist_ok=True)
    write_answers(answers_path(out, row), answers)
    scores = {"accuracy": answers.is_right.mean(), "loss": answers.loss.mean(dtype=float)}
    texts = {name: f"{score:.6f}" for name, score in scores.items()}
    return {"photos": str(len(answers)), **texts, "seconds": seconds}


def run_all(told: argparse.Namespace) -> None:
    """Make every run that the CSV does not have yet."""
    told.out.parent.mkdir(parents=True, exist_ok=True)
    if not told.out.exists():
        told.out.write_text(",".join(FIELDS) + "\r\n")
    done = {tuple(row[key] for key in KEYS) for row in read_rows(told.out)}
    waiting: list[tuple[dict[str, str], Path]] = []

    def add(names: Sequence[str], table: Path | None = None, error: str = "") -> None:
        if tuple(names) in done:
            return
        row = dict(zip(KEYS, names, strict=True))
        if table and told.ray:
            waiting.append((row, table))
        else:
            write(told.out, row | (train(table, row, told.out) if table else {"error": error}))

    for data in sorted(path for path in told.data.absolute().iterdir() if path.is_dir()):
        if told.only and data.name not in told.only:
            continue
        try:
            tables = tables_of(data, told.out.with_suffix(".folds") / data.name, plain=told.plain)
        except HeadstartError as error:
            add([data.name, "", "", "", ""], error=" ".join(str(error).split()))
            continue
        for *names, table in itertools.product(told.backbones, told.recipes, told.seeds, tables):
            if names[:2] == ["default", FASTAI]:
                print(f"{FASTAI}: the default backbone is not torchvision's: left out", file=sys.stderr)
                continue
            add([data.name, *names, table.stem], table)
    if waiting:
        run_on_ray(told.ray, waiting, told.out)


def write(out: Path, row: dict[str, str]) -> None:
    """Add a row to the CSV."""
    with open(out, "a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, FIELDS, restval="").writerow(row)
    print(", ".join(row.values()), file=sys.stderr, flush=True)


def run_on_ray(address: str, waiting: Sequence[tuple[dict[str, str], Path]], out: Path) -> None:
    """Make the runs in tasks of a Ray cluster, whose nodes share the folder of the CSV."""
    with connected(address):
        calls = [partial(train, table.absolute(), row, out.absolute()) for row, table in waiting]
        for number, found in in_tasks(calls):
            lost = {"error": " ".join(f"{type(found).__name__}: {found}".split())[-500:]}
            write(out, waiting[number][0] | (lost if isinstance(found, Exception) else found))


def by_default(out: Path) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Return the successful runs of each data set, backbone and recipe."""
    runs = defaultdict(list)
    for row in read_rows(out):
        if not row["error"]:
            runs[tuple(row[key] for key in KEYS[:3])].append(row)
    return runs


def photos_of(out: Path, rows: list[dict[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Return for each photo whether it is right, and its loss, (2,): means over the runs that score it."""
    found = defaultdict(list)
    for answers in (read_answers(answers_path(out, row)) for row in rows):
        scores = np.stack([answers.is_right, answers.loss], 1)
        for key, score in zip(zip(answers.sha256, answers.label, strict=True), scores, strict=True):
            found[key].append(score)
    return {key: np.mean(scores, 0) for key, scores in found.items()}


def report(out: Path, against: Path | None = None, versus: str | None = None) -> Iterator[str]:
    """Yield a Markdown table with a row per data set, backbone and recipe, then the failed runs.

    Identical photos with the same label count once. Differences are these runs minus those of another CSV, or
    of another recipe in this one, over the photos that both have scored; ``*`` marks those whose interval
    excludes 0.
    """
    names = [*KEYS[:3], "runs", "photos", "accuracy", "loss", "seconds"]
    names += ["accuracy gained", "loss gained"] if against or versus else []
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
    other_out = against or out
    others = by_default(other_out) if against or versus else {}
    for key, rows in by_default(out).items():
        photos = photos_of(out, rows)
        right, loss = np.stack(list(photos.values()), 1)
        cells = [*key, str(len(rows)), str(len(photos))]
        cells += [_cell(right, wilson(right.sum(), len(right))), _cell(loss, of_mean(loss))]
        cells.append(f"{median(float(row['seconds']) for row in rows):.1f}")
        other = others.get((*key[:2], versus or key[2]), [])
        before = photos_of(other_out, other) if key[2] != versus else {}
        both = [photos[each] - before[each] for each in photos if each in before]
        if len(both) > 1:
            right, loss = np.stack(both, 1)
            cells += [_cell(right, of_paired_proportions(right), "+"), _cell(loss, of_mean(loss), "+")]
        yield f"| {' | '.join(cells + [''] * (len(names) - len(cells)))} |"
    for row in read_rows(out):
        if row["error"]:
            yield f"failed: {', '.join(row[key] for key in KEYS)}: {row['error']}"


def _cell(values: np.ndarray, interval: Interval, sign: str = "") -> str:
    mark = " *" if sign and not interval[0] <= 0 <= interval[1] else ""
    return f"{values.mean():{sign}.3f} [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]{mark}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs, print the report, or both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="the folder of data sets")
    parser.add_argument("--out", type=Path, required=True, help="the CSV")
    parser.add_argument("--only", nargs="*", help="names of data sets [all]")
    parser.add_argument("--recipes", nargs="*", default=["probe", "finetune"])
    parser.add_argument("--backbones", nargs="*", default=["default", "mobilenet_v2"])
    parser.add_argument("--seeds", nargs="*", default=["0", "1", "2"])
    parser.add_argument(
        "--plain", action="store_true", help="make folds that ignore near-duplicates, and use given splits"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="address of a Ray cluster that makes the runs, or local"
    )
    parser.add_argument("--report", action="store_true", help="print the table of the CSV")
    parser.add_argument("--against", type=Path, help="the CSV of another version to compare with")
    parser.add_argument("--versus", metavar="RECIPE", help="a recipe of this CSV to compare with")
    told = parser.parse_args(arguments)
    if told.against and told.versus:
        parser.error("--against and --versus: give one of them")
    if told.versus and told.out.exists():
        known = {row["recipe"] for row in read_rows(told.out)} | set(told.recipes if told.data else ())
        if told.versus not in known:
            parser.error(f"--versus {told.versus}: the CSV has {', '.join(sorted(known))}")
    if told.data is not None:
        run_all(told)
    if told.report:
        print("\n".join(report(told.out, told.against, told.versus)))


if __name__ == "__main__":
    main()
