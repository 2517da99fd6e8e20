"""MinHash: signatures estimate similarity; what is found is what comparing all pairs finds."""

import random

import numpy as np
import pytest

from medgym.tools.retrieval.ingest.near import PLACES, SHINGLE, near_duplicates, signature


def shingles(terms: str) -> set[tuple[str, ...]]:
    words = terms.split()
    return {tuple(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}


def similar(words: list[str], share: float, draw: random.Random) -> list[str]:
    """The words with a run of them replaced, so that about `share` of all shingles are in both."""
    run = round(len(words) * (1 - share) / (1 + share))
    start = draw.randrange(len(words) - run + 1)
    return [*words[:start], *(f"n{draw.randrange(10**9)}" for _ in range(run)), *words[start + run :]]


def as_matrix(texts: list[str]) -> np.ndarray:
    return np.frombuffer(b"".join(map(signature, texts)), dtype="<u4").reshape(-1, PLACES)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_equal_places_estimate_the_similarity(share: float) -> None:
    draw = random.Random(1)
    errors: list[float] = []
    for number in range(100):
        words = [f"w{number}x{at}" for at in range(150)]
        one, other = " ".join(words), " ".join(similar(words, share, draw))
        true = len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))
        first, second = as_matrix([one, other])
        errors.append(float(np.mean(first == second)) - true)
    assert abs(np.mean(errors)) < 0.03
    assert np.std(errors) < 0.08


def test_what_is_found_is_what_comparing_all_pairs_finds() -> None:
    draw = random.Random(2)
    texts: list[str] = []
    for number in range(150):
        words = [f"w{number}x{at}" for at in range(100)]
        texts += [" ".join(words), *(" ".join(similar(words, draw.uniform(0.5, 1), draw)) for _ in range(3))]
    draw.shuffle(texts)
    matrix = as_matrix(texts)
    expected = np.zeros(len(texts), dtype=bool)
    for later in range(len(texts)):
        alike = np.mean(matrix[:later] == matrix[later], axis=1) >= 0.85
        expected[later] = bool(np.any(alike & ~expected[:later]))
    found = near_duplicates(matrix, 0.85)
    assert expected.sum() > 60
    assert np.mean(found == expected) > 0.97


def test_texts_of_one_word_and_none_at_all() -> None:
    assert near_duplicates(as_matrix(["a", "a", "b"]), 0.9).tolist() == [False, True, False]
    assert near_duplicates(np.empty((0, PLACES), dtype=np.uint32), 0.9).tolist() == []
