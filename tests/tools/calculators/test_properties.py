"""Over any plausible inputs: values stay in range, and a missing required input is always refused."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medgym.tools.calculators import BadInput, Calculator, Input, MissingInput, calculators

ALL = list(calculators().values())
# Calculators that refuse some combinations of values each plausible alone, and the input that the refusal names.
CROSSED = {
    "map": {"diastolic_bp"},
    "delta_ratio": {"bicarbonate_mmol_l"},
    "iron_deficit_ganzoni": {"target_haemoglobin_g_dl"},
    "naegele": {"on_date", "last_menstrual_period"},
    "ti_rads_2017": {"echogenicity"},
    "lung_rads_2022": {"solid_mm"},
    "diagnostic_2x2": {"false_negative", "true_negative"},
    "nnt": {"experimental_event_rate"},
    "bayes_posttest": {"likelihood_ratio"},
}


def values(item: Input) -> st.SearchStrategy:
    if item.kind == "boolean":
        return st.booleans()
    if item.kind == "choice":
        return st.sampled_from(item.choices)
    if item.kind == "date":
        days = st.dates(datetime.date(1990, 1, 1), datetime.date(2100, 1, 1))
        return days.map(datetime.date.isoformat)
    if item.kind == "integer":
        return st.integers(int(item.low), int(item.high))
    return st.floats(item.low, item.high)


def complete(calculator: Calculator) -> st.SearchStrategy:
    return st.fixed_dictionaries({item.name: values(item) for item in calculator.inputs})


def quick(calculator: Calculator, examples: int):
    few = 5 if calculator.id == "sample_size_two_means" else examples
    return settings(
        max_examples=few, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )


@pytest.mark.parametrize("calculator", ALL, ids=lambda item: item.id)
def test_the_value_stays_in_range(calculator):
    low, high = calculator.range

    @quick(calculator, 60)
    @given(complete(calculator))
    def check(inputs):
        refused = ""
        try:
            score = calculator(**inputs)
        except BadInput as refusal:
            refused = refusal.name
        if refused:
            assert refused in CROSSED.get(calculator.id, ())
            return
        if isinstance(score.value, str):
            assert calculator.range == (None, None)
        else:
            assert low is None or score.value >= low
            assert high is None or score.value <= high
            assert score.band is not None or not calculator.bands
        assert calculator(**inputs) == score

    check()


@pytest.mark.parametrize("calculator", ALL, ids=lambda item: item.id)
def test_missing_any_required_input_is_refused(calculator):
    @quick(calculator, 5)
    @given(complete(calculator), st.data())
    def check(inputs, data):
        lost = data.draw(st.sampled_from(calculator.required))
        del inputs[lost]
        with pytest.raises(MissingInput, match=r"^not computable: missing ") as caught:
            calculator(**inputs)
        assert caught.value.missing == (lost,)

    check()


@pytest.mark.parametrize("calculator", ALL, ids=lambda item: item.id)
def test_nothing_at_all_names_every_required_input(calculator):
    with pytest.raises(MissingInput) as caught:
        calculator()
    assert caught.value.missing == calculator.required


def _worst(name: str, direction: int) -> dict[str, int]:
    """The all-lowest or all-highest answers of a questionnaire."""
    items = calculators()[name].inputs
    return {
        item.name: (max if direction > 0 else min)(item.choices)
        if item.choices
        else int(item.high if direction > 0 else item.low)
        for item in items
    }


@pytest.mark.parametrize(
    "name",
    [
        *("phq9", "gad7", "epds", "pcl5", "audit", "ciwa_ar", "cows", "gcs", "apgar", "nihss", "four_ts", "fourat"),
        *("westley_croup", "braden", "morse_fall", "barthel"),
    ],
)
def test_a_sum_of_items_reaches_both_ends_of_its_range(name):
    calculator = calculators()[name]
    assert (calculator(**_worst(name, -1)).value, calculator(**_worst(name, 1)).value) == calculator.range
