"""Words of other programs in place of Headstart's own, on the command line, in Python and in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.commands import here

import headstart as hs
from headstart.config import peers
from headstart.config.checking import settings_of
from headstart.config.phase import PhaseConfig

OF_A_RUN, OF_A_PHASE = settings_of(hs.TrainConfig).keys(), settings_of(PhaseConfig).keys()


def test_every_word_means_a_setting_and_is_none_itself() -> None:
    for word in peers._MEANT:
        assert set(peers.meanings(word)) <= OF_A_RUN | OF_A_PHASE | {"out"}, word
    words = [*peers._MEANT, *peers._SAID]
    assert not set(words) & (OF_A_RUN | OF_A_PHASE) - {"name"}
    assert len(words) == len(set(words))
    written = [word for row in (*peers._WORDS.values(), *peers._SENTENCES) for word in row.split()]
    assert len(written) == len(words)


CASES = [
    ("model", "Headstart calls it '{}'.", "backbone"),
    ("img_size", "Headstart calls it '{}'.", "size_px"),
    ("imgsz", "Headstart calls it '{}'.", "size_px"),
    ("batch", "Headstart calls it '{}'.", "batch_size"),
    ("num_classes", "Headstart reads the classes from the data. Leave it out.", ""),
    ("learning_rate", "Headstart calls it '{}'.", "lr"),
    ("valid_pct", "Headstart calls it '{}'.", "val"),
    ("time_limit", "Headstart calls it '{}'.", "max_minutes"),
    ("num_train_epochs", "Headstart calls it '{}'.", "epochs"),
    ("smoothing", "Headstart calls it '{}', which is a setting of a phase", "label_smoothing"),
]


@pytest.mark.parametrize(("word", "sentence", "name"), CASES)
def test_the_error_says_what_headstart_calls_it(word: str, sentence: str, name: str) -> None:
    with pytest.raises(hs.ConfigError) as caught:
        hs.train("photos", **{word: 1})  # type: ignore[arg-type]
    assert f"unknown setting {word!r}. {sentence.format(name)}" in str(caught.value)
    code, _, error = here("train", "photos", f"--{word.replace('_', '-')}", "1")
    shown = name if "phase" in sentence else f"--{name.replace('_', '-')}"
    assert sentence.replace("'{}'", shown) in " ".join(error.split())
    assert code == 2


def test_recipes_know_the_words_too(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[[phases]]\nname = "all"\nsmoothing = 0.1\nimgsz = 64\nlr = 0.1\n')
    with pytest.raises(hs.ConfigError) as caught:
        hs.train("photos", recipe=tmp_path / "mine.toml")
    message = str(caught.value)
    assert "'smoothing'. Headstart calls it 'label_smoothing'" in message
    assert "'imgsz'. Headstart calls it 'size_px', which is a setting of the run" in message
    assert "'lr'. Headstart calls it 'head_lr'" in message


def test_a_word_of_nobody_gets_the_nearest() -> None:
    with pytest.raises(hs.ConfigError, match=r"'bakcbone'. Did you mean 'backbone'"):
        hs.train("photos", bakcbone="x")  # type: ignore[call-arg]
