"""The benchmark of fine-tuning: its splits, its variants and its report."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.defaults import read_rows
from benchmarks.fine_tuning import FIELDS, VARIANTS, main, phases_of, write_split

from headstart.config import TrainConfig
from headstart.recipe import Facts, complete


def write_folds(folder: Path, num_photos: int = 40) -> list[Path]:
    """Write tables of two classes of which each holds out another fifth."""
    tables = [folder / f"{fold}.csv" for fold in range(5)]
    for fold, table in enumerate(tables):
        rows = [f"{n}.jpg,{'ab'[n % 2]},{'val' if n % 5 == fold else 'train'}" for n in range(num_photos)]
        table.write_text("\n".join(["image,label,split", *rows]))
    return tables


def test_one_fold_tests_and_the_next_one_chooses(tmp_path: Path) -> None:
    tables = write_folds(tmp_path)
    for fold in (0, 4):
        assert write_split(tables, fold, 0, tmp_path / "split.csv") == 24
        for row in read_rows(tmp_path / "split.csv"):
            of = int(row["image"].removesuffix(".jpg")) % 5
            assert row["split"] == ("test" if of == fold else "val" if of == (fold + 1) % 5 else "train")
    assert write_split(tables, 0, 3, tmp_path / "split.csv") == 6
    splits = [row["split"] for row in read_rows(tmp_path / "split.csv")]
    assert (splits.count("val"), splits.count("test")) == (2, 8)


@pytest.mark.parametrize("num_train", [80, 900, 20_000])
def test_the_variant_now_is_the_default(num_train: int) -> None:
    facts = Facts(num_train, 1280, takes_map=True)
    default = complete(TrainConfig.from_settings("photos", recipe="finetune"), facts).phases
    assert TrainConfig.from_settings("photos", phases=phases_of("now", num_train)).phases == default
    for variant in VARIANTS:
        assert TrainConfig.from_settings("photos", phases=phases_of(variant, num_train)).phases


def test_the_report_has_means_over_the_folds_that_all_variants_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "tiles,0,0,default,probe,0.5,1.0,probe,1,3.0",
        "tiles,0,1,default,probe,0.7,0.8,probe,1,3.0",
        "tiles,0,2,default,probe,0.1,9.9,probe,1,3.0",
        "tiles,0,0,default,now,0.6,0.9,finetune,4,9.0",
        "tiles,0,1,default,now,0.8,0.7,finetune,4,9.0",
    ]
    out = tmp_path / "runs.csv"
    out.write_text("\n".join([",".join(FIELDS), *rows]))
    main(["--out", str(out), "--report"])
    header, _, row = capsys.readouterr().out.splitlines()
    assert header == "| data | photos a class | backbone | folds | probe | now |"
    assert row == "| tiles | all | default | 2 | 0.600 / 0.900 | 0.700 / 0.800 |"
