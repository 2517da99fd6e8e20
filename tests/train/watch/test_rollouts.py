"""Figures of rollouts, each against a count made by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from medgym.env.action import write_call
from medgym.env.domain import load_domain
from medgym.train.rollout.row import RolloutRow
from medgym.train.watch.rollouts import calls_of, is_dead, ngram_repeats, rollout_metrics

MakeRow = Callable[..., RolloutRow]


def test_a_good_episode(scripted: MakeRow):
    row = scripted(policy="expert")
    found = rollout_metrics([row], 1)
    for name in ("accuracy", "process", "safety", "format", "coherence", "assertion", "evidence", "composite"):
        assert found[f"clinical/{name}"] == pytest.approx(float(row.reward[name] or 0))
    assert found["clinical/success"] == 1.0
    assert found["safety/capped_frac"] == 0.0
    assert found["turns/mean"] == len(row.turn_spans) == 10
    assert found["turns/policy_tokens_per_turn"] == pytest.approx(row.policy_tokens / 10)
    assert found["tools/calls"] == len(list(calls_of(row)))
    assert found["tools/malformed_frac"] == found["tools/phantom"] == found["rollout/masked"] == 0.0
    assert found["tools/well_formed_frac"] == 1.0
    assert found["turns/submitted_frac"] == 1.0
    assert found["turns/truncated_frac"] == 0.0


def test_a_harmful_episode_is_counted(scripted: MakeRow):
    found = rollout_metrics([scripted(policy="expert"), scripted(policy="dangerous")], 1)
    assert found["safety/capped_frac"] == 0.5
    assert found["safety/verdicts"] >= 0.5
    assert found["clinical/composite"] == pytest.approx(0.55)


def test_calls_are_told_apart(scripted: MakeRow):
    row = scripted(
        "<tool_call>{bad</tool_call>" + write_call("web_search", {}),
        write_call("get_vital_signs", {"patient_id": "P7404"}) + write_call("get_vital_signs", {"nobody": 1}),
        write_call("calculate_gcs", {}),
        "I see.",
    )
    errors = [call["error"] for call in calls_of(row)]
    assert errors[:2] == ["malformed_call", "unknown_tool"]
    assert errors[2:4] == [None, "invalid_arguments"]
    found = rollout_metrics([row], 1)
    phantom = 1 + (errors[4] == "not_on_shelf") + (errors[4] == "unknown_tool")
    assert found["tools/calls"] == 5
    assert found["tools/calls_per_turn"] == 1.25
    assert found["tools/well_formed_frac"] == (5 - 1 - phantom - 1) / 6  # "I see." is an attempt without a call
    assert found["tools/malformed_frac"] == 0.2
    assert found["tools/phantom"] == phantom
    assert found["tools/phantom_frac"] == phantom / 5
    assert found["tools/share/get_vital_signs"] == (1.0 if errors[4] == "unknown_tool" else pytest.approx(2 / 3))
    assert "tools/share/web_search" not in found
    assert "tools/share/" not in found


def test_messages_without_a_call_are_not_well_formed(scripted: MakeRow):
    found = rollout_metrics([scripted("I see.", "Perhaps.")], 1)
    assert found["tools/well_formed_frac"] == 0.0
    assert "tools/malformed_frac" not in found


def test_a_tool_off_the_shelf_is_a_phantom(scripted: MakeRow):
    name = sorted(set(load_domain("medical_qa").tools) - set(load_domain("clinical_diagnosis").tools))[0]
    row = scripted(write_call(name, {}))
    assert [call["error"] for call in calls_of(row)] == ["not_on_shelf"]
    found = rollout_metrics([row], 1)
    assert found["tools/phantom_frac"] == 1.0
    assert found["tools/unique"] == 1.0  # the tool exists


def test_shares_sum_to_one(scripted: MakeRow):
    found = rollout_metrics([scripted(policy="expert"), scripted(policy="random")], 1)
    shares = [value for name, value in found.items() if name.startswith("tools/share/")]
    assert sum(shares) == pytest.approx(1.0)
    assert len(shares) == found["tools/unique"]


def test_repeated_reads_and_messages(scripted: MakeRow):
    same = write_call("get_vital_signs", {"patient_id": "P7404"})
    found = rollout_metrics([scripted(same, same, same, same)], 1)
    assert found["tools/repeated_frac"] == 0.75
    assert found["collapse/repeated_turns"] == 0.75
    fresh = rollout_metrics([scripted(policy="expert")], 1)
    assert fresh["collapse/repeated_turns"] == pytest.approx(0.2)  # it waits three times


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ((), (0, 0)),
        ((1, 2, 3), (0, 0)),
        ((1, 2, 3, 4), (1, 0)),
        ((7,) * 12, (9, 8)),
        ((1, 2, 3, 4, 5, 1, 2, 3, 4, 5), (7, 2)),
    ],
)
def test_ngrams_by_hand(ids: tuple[int, ...], expected: tuple[int, int]):
    assert ngram_repeats(ids) == expected


def test_a_loop_shows_in_the_ngrams(scripted: MakeRow):
    sane = rollout_metrics([scripted("What brings you here today?")], 1)
    loop = rollout_metrics([scripted("pain pain pain pain pain pain pain pain pain pain")], 1)
    assert sane["collapse/repeated_ngrams"] < 0.1
    assert loop["collapse/repeated_ngrams"] > 0.8


def test_the_environments_words_do_not_count(scripted: MakeRow):
    row = scripted("Hello there doctor")
    noisy = replace(
        row,
        completion_ids=(*row.completion_ids, *([5] * 50)),
        logprobs=(*row.logprobs, *([0.0] * 50)),
        env_mask=(*row.env_mask, *([0] * 50)),
    )
    noisy.check()
    assert rollout_metrics([noisy], 1) == rollout_metrics([row], 1)


def with_reward(row: RolloutRow, composite: float, accuracy: float = 0.0) -> RolloutRow:
    return replace(row, reward={**row.reward, "composite": composite, "accuracy": accuracy})


def test_dead_groups_are_of_the_unshaped_composite(scripted: MakeRow, masked: MakeRow):
    row = scripted(policy="expert")
    alive = [with_reward(row, 0.2), with_reward(row, 0.9, 1.0)]
    wrong = [with_reward(row, 0.2), with_reward(row, 0.2 + 1e-9)]
    right = [with_reward(row, 1.0, 1.0)] * 2
    lost = [with_reward(row, 0.5, 1.0), masked("crash")]
    assert [is_dead(members) for members in (alive, wrong, right, lost)] == [False, True, True, True]
    found = rollout_metrics([*alive, *wrong, *right, *lost], 2)
    assert found["collapse/dead_groups"] == 0.75
    assert found["collapse/dead_wrong"] == 0.25


def test_masked_rows_are_counted_by_reason_and_nowhere_else(scripted: MakeRow, masked: MakeRow):
    row = scripted(policy="expert")
    alone = rollout_metrics([row], 1)
    found = rollout_metrics([masked("timeout"), row, masked("crash"), masked("crash"), masked("fork")], 1)
    counts = {"masked": 4.0, "timeout": 1.0, "crash": 2.0, "fork": 1.0}
    assert {name: found[f"rollout/{name}"] for name in counts} == counts
    rest = {name for name in found if not name.startswith("rollout/")}
    assert {name: found[name] for name in rest} == {name: alone[name] for name in rest}


def test_only_masked_rows_give_counts_only(masked: MakeRow):
    found = rollout_metrics([masked("crash")] * 4, 2)
    assert found["rollout/crash"] == 4
    assert found["collapse/dead_groups"] == 1.0
    assert not any(name.startswith(("clinical/", "turns/", "tools/")) for name in found)


def test_truncated_and_dead_ends(scripted: MakeRow):
    cut = scripted("Hello?", max_turns=1)
    full = scripted("Hello?", finish="context")
    idle = scripted(policy="do-nothing")
    found = rollout_metrics([cut, full, idle, idle], 1)
    assert found["turns/truncated_frac"] == 0.5
    assert found["rollout/context"] == 1
    assert found["rollout/dead_end"] == 2
    assert "tools/malformed_frac" not in found  # no calls, no share
    assert found["tools/calls"] == 0.0


def test_rows_out_of_order_are_refused(scripted: MakeRow):
    row = scripted(policy="expert")
    with pytest.raises(ValueError, match="3 rows are not whole groups of 2"):
        rollout_metrics([row] * 3, 2)
    with pytest.raises(ValueError, match="out of order"):
        rollout_metrics([row, replace(row, task="another")], 2)


def test_all_figures_are_plain_floats(scripted: MakeRow):
    found = rollout_metrics([scripted(policy="expert")] * 2, 2)
    assert {type(value) for value in found.values()} <= {float, int}
