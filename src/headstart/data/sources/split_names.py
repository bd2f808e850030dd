"""Names of splits in several languages and spellings."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

SPLIT_OF_FOLDER: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Split of a top folder with one of these names (in any case), whatever it contains."""

SPLIT_OF_WORD: Final = {
    **SPLIT_OF_FOLDER,
    **dict.fromkeys(("trn", "trainval"), "train"),
    **dict.fromkeys(("validate", "validating", "dev", "eval", "evaluation", "evaluate"), "val"),
    **dict.fromkeys(("tst", "holdout", "heldout"), "test"),
    # German, French, Spanish, Portuguese, Italian, Polish, Turkish, Russian, Chinese, Japanese, Korean.
    **dict.fromkeys(
        ("trainings", "trainingsdaten", "entrainement", "entraînement", "apprentissage"), "train"
    ),
    **dict.fromkeys(("entrenamiento", "treino", "treinamento", "addestramento", "trening"), "train"),
    **dict.fromkeys(("eğitim", "egitim", "обучение", "训练", "訓練", "学習", "학습", "훈련"), "train"),
    **dict.fromkeys(("validierung", "validierungsdaten", "validación", "validacion"), "val"),
    **dict.fromkeys(("validação", "validacao", "validazione", "walidacja", "doğrulama"), "val"),
    **dict.fromkeys(("dogrulama", "валидация", "验证", "驗證", "検証", "검증"), "val"),
    **dict.fromkeys(("testdaten", "essai", "prueba", "pruebas", "teste", "testes", "prova"), "test"),
    **dict.fromkeys(("тест", "测试", "測試", "テスト", "테스트"), "test"),
}
"""Split meant by a word in the name of a folder that has the same class folders as another one."""

_PLAIN: Final = re.compile(
    r"(?:^|[^a-z])(training|train|validation|valid|val|testing|test)(?![a-z])", re.IGNORECASE
)

_SUFFIXES: Final = re.compile(
    "(ing)?(_?(data)?set|data|images?|imgs?|photos?|pictures?|pics|folder|split)s?$"
)


def split_in_name(name: str) -> str | None:
    """Return the split in the words of a name, as in ``training_set``, ``seg_test`` or ``TrainData``.

    Returns None if the name contains none, or more than one.
    """
    text = unicodedata.normalize("NFC", name)
    words = re.split(r"[\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).casefold())
    splits = {_split_of_word(word) for word in words} - {None}
    return splits.pop() if len(splits) == 1 else None


@lru_cache(maxsize=4096)
def plain_split(name: str) -> str | None:
    """Return the split that a name contains in English, as in ``instances_train2017``; else None."""
    match = _PLAIN.search(name)
    return SPLIT_OF_FOLDER[match[1].lower()] if match else None


def split_of_folders(folders: Sequence[str]) -> str | None:
    """Return the split in the names of the folders above a photo: in the innermost that contains one."""
    return next(filter(None, map(plain_split, reversed(folders))), None)


def _split_of_word(word: str) -> str | None:
    for each in (word, _SUFFIXES.sub("", word), word.removesuffix("集")):
        if each in SPLIT_OF_WORD:
            return SPLIT_OF_WORD[each]
    return None


def splits_in_other_words(
    top: Sequence[str], classes_in: Mapping[str, Collection[str]]
) -> dict[str, list[str]]:
    """Return top folders by the split that their names suggest.

    Such names can be classes too: ``train_station``, ``test_tube``. They are splits only if there is one
    training folder with class folders in it, and a folder for another split.

    Args:
        top: Names of folders.
        classes_in: Names of the folders in each of them.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for name in top:
        if split := split_in_name(name):
            found[split].append(name)
    is_to_learn = any(len(classes_in.get(name, ())) > 1 for name in found.get("train", ()))
    if len(found) < 2 or not is_to_learn:
        return {}
    if all(name.lower() in SPLIT_OF_FOLDER for names in found.values() for name in names):
        return {}
    return dict(found)
