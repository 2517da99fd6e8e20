"""The decoding loop: batching, caches, limits, draws."""

from __future__ import annotations

import gc
import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from medgym.agent.policies.local import ContextLengthError, LoadedModel, SampleOutput, SampleRequest
from medgym.agent.policies.local import sampler as sampling
from medgym.agent.policies.local.rows import seat
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


KINDS = ("llama", "lora", "qwen", "learned", "eager")


def build(kind: str, loaded: LoadedModel) -> LoadedModel:
    """A tiny model over the tokenizer of `loaded`; `windowed` sees only the last 8 positions."""
    from peft import LoraConfig, get_peft_model
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    torch.manual_seed(3)
    common: dict[str, Any] = {
        "vocab_size": len(loaded.tokenizer) + 8,
        "initializer_range": 0.25,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if kind == "learned":
        model: Any = GPT2LMHeadModel(GPT2Config(n_positions=600, n_embd=32, n_layer=2, n_head=4, **common))
    else:
        common |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        common |= {"num_key_value_heads": 2, "max_position_embeddings": 2048}
        if kind == "qwen":
            model = Qwen3ForCausalLM(Qwen3Config(head_dim=16, **common))
        elif kind == "windowed":
            model = MistralForCausalLM(MistralConfig(sliding_window=8, **common))
        else:
            model = LlamaForCausalLM(LlamaConfig(attn_implementation="eager" if kind == "eager" else "sdpa", **common))
    if kind == "lora":
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    return LoadedModel(model.eval(), loaded.tokenizer, loaded.chat_format, kind)


@pytest.fixture
def chatml(tiny_policies: dict[str, LoadedModel]) -> LoadedModel:
    return tiny_policies["chatml"]


def check_logprobs(loaded: LoadedModel, request: SampleRequest, output: SampleOutput) -> None:
    """The recorded log-probabilities are those of one full forward pass."""
    model: Any = loaded.model
    start = len(request.prompt_ids)
    with torch.no_grad():
        logits = model(torch.tensor([[*request.prompt_ids, *output.ids]]), use_cache=False).logits[0, start - 1 : -1]
    expected = torch.log_softmax(logits.float() / request.scored_at, -1)
    found = expected.gather(1, torch.tensor(output.ids)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(output.logprobs), found, atol=1e-4, rtol=0)


def play(
    loaded: LoadedModel, sampler: Sampler, temperature: float, turns: int = 4
) -> list[tuple[list[SampleRequest], list[SampleOutput]]]:
    """Streams that start, pause and go on at different lengths; number 4 has no owner, number 5 is rewritten."""
    lengths = (150, 3, 77, 12, 30, 90)
    owners = [Owner() for _ in lengths]
    streams: list[list[int]] = [prompt(length, length) for length in lengths]
    played: list[tuple[list[SampleRequest], list[SampleOutput]]] = []
    for turn in range(turns):
        here = [at for at in range(len(streams)) if at <= 2 + turn and (at + turn) % 4 != 3]
        requests = [
            SampleRequest(
                list(streams[at]),
                max_new_tokens=3 + 5 * at,
                temperature=temperature,
                seed=10 * turn + at,
                scored_at=0.5 + at,
                owner=None if at == 4 else owners[at],
            )
            for at in here
        ]
        outputs = sampler.generate(requests)
        played.append((requests, outputs))
        for at, request, output in zip(here, requests, outputs, strict=True):
            check_logprobs(loaded, request, output)
            streams[at] += [*output.ids, *prompt(1 + 40 * ((at + turn) % 3), 100 * turn + at)]
        streams[5][-3] = 11 if streams[5][-3] != 11 else 12
    return played


@pytest.mark.parametrize("budget", [None, 1, 10_000])
@pytest.mark.parametrize("kind", KINDS)
def test_mixed_batches_give_what_a_full_pass_gives(chatml: LoadedModel, kind: str, budget: int | None) -> None:
    loaded = build(kind, chatml)
    for temperature in (0.0, 1.0):
        sampler = Sampler(loaded.model, loaded.chat_format, prefill_tokens=budget)
        played = play(loaded, sampler, temperature)
        alone = Sampler(loaded.model, loaded.chat_format)
        for requests, outputs in played:
            for request, output in zip(requests, outputs, strict=True):
                fresh = alone.submit(replace(request, owner=None))
                assert output.ids == fresh.ids
                assert output.finish_reason == fresh.finish_reason
    assert len({output.ids for _, outputs in played for output in outputs}) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_who_takes_the_place_of_another_gets_what_a_full_pass_gives(
    chatml: LoadedModel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten streams of three turns, four at once; each turn comes as soon as another has ended."""
    loaded = build(kind, chatml)
    seats: list[bool] = []
    monkeypatch.setattr(sampling, "seat", lambda *given: seats.append(seat(*given)) or seats[-1])
    streams = {number: (prompt(20 + 31 * number, number), Owner()) for number in range(10)}
    waiting = [(number, turn) for turn in range(3) for number in streams]
    done: list[tuple[SampleRequest, SampleOutput]] = []

    def request_of(number: int, turn: int) -> SampleRequest:
        ids, owner = streams[number]
        return SampleRequest(list(ids), 4 + (7 * number + 3 * turn) % 11, seed=10 * turn + number, owner=owner)

    def arrivals(running: int) -> list[Any]:
        came = []
        while waiting and running + len(came) < 4:
            number, turn = waiting.pop(0)
            request = request_of(number, turn)

            def told(outcome: Any, request: SampleRequest = request, number: int = number) -> None:
                assert isinstance(outcome, SampleOutput)
                done.append((request, outcome))
                streams[number][0].extend([*outcome.ids, *prompt(5 + 9 * number, number)])

            came.append((request, told))
        return came

    Sampler(loaded.model, loaded.chat_format).run(arrivals)
    assert len(done) == 30
    for request, output in done:
        check_logprobs(loaded, request, output)
    assert sum(seats) > 10


@pytest.mark.parametrize("kind", ["llama", "lora"])
def test_a_batch_is_fed_only_what_is_new(chatml: LoadedModel, kind: str, spy: Any) -> None:
    loaded = build(kind, chatml)
    sampler = Sampler(loaded.model, loaded.chat_format)
    owners = [Owner() for _ in range(3)]
    streams = [prompt(length, length) for length in (50, 20, 35)]
    added = (4, 2, 3)
    for turn in range(3):
        with spy(loaded.model) as fed:
            outputs = sampler.generate(
                [
                    SampleRequest(list(stream), max_new_tokens=4, seed=turn, owner=owner)
                    for stream, owner in zip(streams, owners, strict=True)
                ]
            )
        if turn:  # in order of length: the last sampled id of each stream and what was added after it
            pad = loaded.chat_format.turn_end
            shortest_first = sorted(range(3), key=lambda at: added[at])
            assert fed[0] == [[pad] * (4 - added[at]) + streams[at][-1 - added[at] :] for at in shortest_first]
        for stream, output, new in zip(streams, outputs, added, strict=True):
            stream += [*output.ids, *prompt(new, turn)]


def test_a_beginning_that_new_prompts_share_is_fed_once(chatml: LoadedModel, spy: Any) -> None:
    sampler = Sampler(chatml.model, chatml.chat_format)
    system = prompt(100)
    asked = [[*system, *prompt(length, length)] for length in (5, 9, 7)]
    asked.append(list(asked[0]))
    owners = [Owner() for _ in asked]
    requests = [SampleRequest(ids, max_new_tokens=1, owner=owner) for ids, owner in zip(asked, owners, strict=True)]
    with spy(chatml.model) as fed:
        outputs = sampler.generate(requests)
    assert [(len(rows), len(rows[0])) for rows in fed] == [(1, 100), (4, 9)]
    for request, output in zip(requests, outputs, strict=True):
        check_logprobs(chatml, request, output)
    later = SampleRequest([*system, *prompt(6, 1)], max_new_tokens=4, owner=Owner())
    with spy(chatml.model) as fed:
        output = sampler.submit(later)
    assert fed[0] == [prompt(6, 1)]  # after the beginning that other streams have fed
    check_logprobs(chatml, later, output)
    sampler.drop_caches()
    with spy(chatml.model) as fed:
        assert sampler.submit(later).ids == output.ids
    assert len(fed[0][0]) == 106


def test_rows_that_ended_leave_the_batch(chatml: LoadedModel, spy: Any) -> None:
    sampler = Sampler(chatml.model, chatml.chat_format)
    limits = (2, 12, 3, 6)
    requests = [SampleRequest(prompt(9, at), max_new_tokens=limit, seed=at) for at, limit in enumerate(limits)]
    with spy(chatml.model) as fed:
        outputs = sampler.generate(requests)
    assert [len(output.ids) for output in outputs] == list(limits)  # none drew an end token with these seeds
    assert [len(rows) for rows in fed] == [4, 4, 4, 2, 2, 2, *[1] * 6]
    for request, output in zip(requests, outputs, strict=True):
        check_logprobs(chatml, request, output)


def test_an_ended_row_is_not_fed_beyond_the_context(chatml: LoadedModel) -> None:
    """Learned positions end with the context; a row that reached it waits for its batch."""
    loaded = build("learned", chatml)
    sampler = Sampler(loaded.model, loaded.chat_format, max_context=600)
    requests = [SampleRequest(prompt(length, length), max_new_tokens=30, seed=1) for length in (595, 40, 30)]
    for request, output in zip(requests, sampler.generate(requests), strict=True):
        check_logprobs(loaded, request, output)


def test_windowed_attention_feeds_everything_again(chatml: LoadedModel, spy: Any) -> None:
    loaded = build("windowed", chatml)
    sampler = Sampler(loaded.model, loaded.chat_format, prefill_tokens=200)
    system = prompt(70)
    owners = [Owner() for _ in range(4)]
    streams = [[*system, *prompt(length, length)] for length in (20, 4, 90, 30)]
    for turn in range(3):
        requests = [
            SampleRequest(list(stream), max_new_tokens=4 + 2 * at, temperature=0.0, owner=owner)
            for at, (stream, owner) in enumerate(zip(streams, owners, strict=True))
        ]
        with spy(loaded.model) as fed:
            outputs = sampler.generate(requests)
        prefills = [row for rows in fed if len(rows[0]) > 1 for row in rows]
        if turn == 0:  # the kind of cache is not known before the first pass
            assert prefills.pop(0) == system
        whole = sorted(streams, key=len)
        assert [row[-len(stream) :] for row, stream in zip(prefills, whole, strict=True)] == whole
        assert not any(owner in sampler._caches for owner in owners)
        for stream, request, output in zip(streams, requests, outputs, strict=True):
            check_logprobs(loaded, request, output)
            stream += [*output.ids, 20, 21]


def test_held_memory_is_bounded_and_has_no_padding(chatml: LoadedModel) -> None:
    a_position = 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width of a head, bytes of a float
    sampler = Sampler(chatml.model, chatml.chat_format, max_cache_bytes=130 * a_position)
    owners = [Owner() for _ in range(4)]
    requests = [
        SampleRequest(prompt(length, length), max_new_tokens=2, seed=2, owner=owner)
        for length, owner in zip((60, 20, 140, 70), owners, strict=True)
    ]
    for request in requests[:2]:
        sampler.submit(request)
    assert sampler._caches.nbytes == (61 + 21) * a_position
    sampler.submit(requests[3])
    assert [owner in sampler._caches for owner in owners] == [False, True, False, True]
    assert sampler._caches.nbytes == (21 + 71) * a_position
    sampler.generate(requests[:2])  # padded in the batch
    assert sampler._caches.nbytes == (61 + 21) * a_position
    sampler.submit(requests[2])
    assert sampler._caches.nbytes == 0


def test_every_row_keeps_its_own_settings(chatml: LoadedModel) -> None:
    sampler = Sampler(chatml.model, chatml.chat_format)
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 2.0, "scored_at": 2.0},
        {"top_p": 0.4},
        {"grammar": 'start: "yes" | "no"'},
        {"temperature": 0.3, "top_p": 0.9, "scored_at": 0.3},
        {"temperature": 0.0, "grammar": 'start: "ab" "c"*'},
        {"temperature": 0.0, "top_p": 0.1},
    ]
    requests = [
        SampleRequest(prompt(9, at), max_new_tokens=12, seed=at, **chosen) for at, chosen in enumerate(settings)
    ]
    outputs = sampler.generate(requests)
    for request, together in zip(requests, outputs, strict=True):
        assert together.ids == sampler.submit(request).ids
        check_logprobs(chatml, request, together)
    assert chatml.chat_format.text_of(outputs[3].ids).startswith(("yes", "no"))
    greedy = [sampler.submit(replace(requests[6], top_p=top_p)).ids for top_p in (0.1, 1.0)]
    assert greedy[0] == greedy[1]


def test_after_an_error_streams_are_fed_afresh(chatml: LoadedModel, spy: Any) -> None:
    sampler = Sampler(chatml.model, chatml.chat_format)
    owners = [Owner(), Owner()]
    requests = [SampleRequest(prompt(30, at), max_new_tokens=4, owner=owner) for at, owner in enumerate(owners)]
    outputs = sampler.generate(requests)
    longer = [
        replace(request, prompt_ids=[*request.prompt_ids, *output.ids, 30])
        for request, output in zip(requests, outputs, strict=True)
    ]
    model: Any = chatml.model
    hook = model.lm_head.register_forward_hook(lambda _module, _args, logits: logits * float("nan"))
    try:
        with pytest.raises(FloatingPointError, match="not finite"):
            sampler.generate(longer)
    finally:
        hook.remove()
    with spy(chatml.model) as fed:
        again = sampler.generate(longer)
    for request, output in zip(longer, again, strict=True):
        check_logprobs(chatml, request, output)
    assert len(fed[0][0]) == max(len(request.prompt_ids) for request in longer)


def test_one_owner_twice_in_a_batch(chatml: LoadedModel) -> None:
    sampler = Sampler(chatml.model, chatml.chat_format)
    owner = Owner()
    first = sampler.submit(SampleRequest(prompt(20), max_new_tokens=3, owner=owner))
    both = [SampleRequest([*prompt(20), *first.ids, at], max_new_tokens=3, owner=owner) for at in (40, 41)]
    for request, output in zip(both, sampler.generate(both), strict=True):
        check_logprobs(chatml, request, output)
    assert len(sampler._caches) == 1


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
