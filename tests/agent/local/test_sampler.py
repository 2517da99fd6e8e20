"""The decoding loop: batching, caches, limits, draws."""

from __future__ import annotations

import gc
import random
from typing import Any

import pytest
import torch

from medgym.agent.policies.local import ContextLengthError, LoadedModel, SampleRequest
from medgym.agent.policies.local.sampler import Sampler


class Owner:
    """Stands for a recorder."""


@pytest.fixture
def sampler(loaded: LoadedModel) -> Sampler:
    return Sampler(loaded.model, loaded.chat_format)


def prompt(length: int, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(10, 300) for _ in range(length)]


def requests(**settings: Any) -> list[SampleRequest]:
    return [SampleRequest(prompt(length, length), seed=length, **settings) for length in (5, 40, 17, 1)]


def test_padding_does_not_move_positions(sampler: Sampler, loaded: LoadedModel) -> None:
    """Rotary models would not notice; models with learned positions would."""
    model: Any = loaded.model
    seen: list[list[list[int]]] = []
    hook = model.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(kwargs["position_ids"].tolist()), with_kwargs=True
    )
    try:
        sampler.generate([SampleRequest(prompt(length), max_new_tokens=2, temperature=0.0) for length in (2, 4)])
    finally:
        hook.remove()
    assert seen == [[[0, 0, 0, 1], [0, 1, 2, 3]], [[2], [4]]]


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {}, {"top_p": 0.7, "temperature": 1.3}])
def test_a_batch_gives_what_each_alone_gives(sampler: Sampler, settings: dict[str, float]) -> None:
    batch = sampler.generate(requests(max_new_tokens=20, **settings))
    for request, together in zip(requests(max_new_tokens=20, **settings), batch, strict=True):
        alone = sampler.submit(request)
        assert together.ids == alone.ids
        assert together.finish_reason == alone.finish_reason
        assert together.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_greedy_is_the_likeliest(sampler: Sampler, loaded: LoadedModel) -> None:
    given = prompt(9)
    output = sampler.submit(SampleRequest(given, temperature=0.0, max_new_tokens=6))
    model: Any = loaded.model
    with torch.no_grad():
        logits = model(torch.tensor([[*given, *output.ids]])).logits[0, len(given) - 1 : -1]
    assert logits[:, : len(loaded.tokenizer)].argmax(-1).tolist() == list(output.ids)


def test_draws_follow_the_models_distribution(sampler: Sampler, loaded: LoadedModel) -> None:
    given = prompt(9)
    model: Any = loaded.model
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor([given])).logits[0, -1, : len(loaded.tokenizer)], -1)
    batch = [SampleRequest(given, max_new_tokens=1, seed=seed) for seed in range(2000)]
    counts = torch.zeros(len(loaded.tokenizer))
    for output in sampler.generate(batch):
        counts[output.ids[0]] += 1
    assert float((counts / 2000 - expected).abs().sum()) / 2 < 0.2  # total variation; about 0.1 by chance alone


def test_top_p_draws_only_from_the_head(sampler: Sampler, loaded: LoadedModel) -> None:
    given = prompt(9)
    model: Any = loaded.model
    with torch.no_grad():
        probabilities = torch.softmax(model(torch.tensor([given])).logits[0, -1, : len(loaded.tokenizer)], -1)
    ordered, order = probabilities.sort(descending=True)
    head = set(order[: int((ordered.cumsum(0) < 0.3).sum()) + 1].tolist())
    batch = [SampleRequest(given, max_new_tokens=1, seed=seed, top_p=0.3) for seed in range(200)]
    drawn = {output.ids[0] for output in sampler.generate(batch)}
    assert drawn <= head
    assert len(drawn) > 1


def test_padding_rows_of_the_embedding_are_never_drawn(sampler: Sampler, loaded: LoadedModel) -> None:
    batch = [SampleRequest(prompt(4), max_new_tokens=3, seed=seed, temperature=50.0) for seed in range(300)]
    drawn = {token for output in sampler.generate(batch) for token in output.ids}
    assert max(drawn) < len(loaded.tokenizer)


def test_a_kept_cache_changes_nothing_but_what_is_fed(sampler: Sampler, loaded: LoadedModel, spy: Any) -> None:
    owner = Owner()
    given = prompt(30)
    first = sampler.submit(SampleRequest(given, max_new_tokens=8, owner=owner))
    longer = [*given, *first.ids, *prompt(6, 1)]
    with spy(loaded.model) as fed:
        kept = sampler.submit(SampleRequest(longer, max_new_tokens=8, owner=owner))
    fresh = sampler.submit(SampleRequest(longer, max_new_tokens=8))
    assert len(fed[0][0]) == 7  # the last sampled id and the six new ones
    assert kept.ids == fresh.ids
    assert kept.logprobs == pytest.approx(fresh.logprobs, abs=1e-4)


def test_a_cache_that_does_not_fit_is_dropped(sampler: Sampler, loaded: LoadedModel, spy: Any) -> None:
    owner = Owner()
    sampler.submit(SampleRequest(prompt(30), max_new_tokens=4, owner=owner))
    other = prompt(40, 7)
    with spy(loaded.model) as fed:
        kept = sampler.submit(SampleRequest(other, max_new_tokens=4, owner=owner))
    assert len(fed[0][0]) == 40
    assert kept.ids == sampler.submit(SampleRequest(other, max_new_tokens=4)).ids
    with spy(loaded.model) as fed:  # the very same prompt again: nothing would be left to feed
        sampler.submit(SampleRequest(other, max_new_tokens=4, owner=owner))
    assert len(fed[0][0]) == 40


def test_caches_go_with_their_owner_and_are_bounded(loaded: LoadedModel) -> None:
    sampler = Sampler(loaded.model, loaded.chat_format, max_caches=2)
    owners = [Owner() for _ in range(4)]
    for owner in owners:
        sampler.submit(SampleRequest(prompt(5), max_new_tokens=2, owner=owner))
    assert [owner in sampler._caches for owner in owners] == [False, False, True, True]
    del owners, owner
    gc.collect()
    assert len(sampler._caches) == 0


def test_dropped_caches_see_new_weights(loaded: LoadedModel, spy: Any) -> None:
    sampler = Sampler(loaded.model, loaded.chat_format)
    owner = Owner()
    first = sampler.submit(SampleRequest(prompt(5), max_new_tokens=2, owner=owner))
    sampler.drop_caches()
    with spy(loaded.model) as fed:
        sampler.submit(SampleRequest([*prompt(5), *first.ids, 50], max_new_tokens=2, owner=owner))
    assert len(fed[0][0]) == 5 + len(first.ids) + 1


def test_context_limit(loaded: LoadedModel) -> None:
    sampler = Sampler(loaded.model, loaded.chat_format, max_context=32)
    output = sampler.submit(SampleRequest(prompt(30), max_new_tokens=10, seed=1))
    assert len(output.ids) <= 2
    for call in (sampler.check, sampler.submit):
        with pytest.raises(ContextLengthError, match="32"):
            call(SampleRequest(prompt(32)))
    assert Sampler(loaded.model, loaded.chat_format).max_context == 2048  # the config's


def test_training_mode_is_restored(loaded: LoadedModel, sampler: Sampler) -> None:
    model: Any = loaded.model
    seen: list[bool] = []
    hook = model.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    try:
        model.train()
        sampler.submit(SampleRequest(prompt(3), max_new_tokens=2))
        assert model.training
        assert not any(seen)
    finally:
        hook.remove()
        model.eval()


def test_infinite_logits_are_an_error(loaded: LoadedModel, sampler: Sampler) -> None:
    model: Any = loaded.model
    hook = model.lm_head.register_forward_hook(lambda _module, _args, logits: logits * float("nan"))
    try:
        for temperature in (0.0, 1.0):
            with pytest.raises(FloatingPointError, match="not finite"):
                sampler.submit(SampleRequest(prompt(3), temperature=temperature))
    finally:
        hook.remove()


def test_nothing_to_do(sampler: Sampler) -> None:
    assert sampler.generate([]) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"prompt_ids": []}, "empty"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_bad_requests(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        SampleRequest(**{"prompt_ids": [1], **change})
