"""Evidence arithmetic: test accuracy, post-test probability, number needed to treat, sample size."""

from __future__ import annotations

import math
from collections.abc import Callable

from .calculator import Outcome, calculator
from .inputs import BadInput, integer, number


@calculator(
    "Diagnostic 2x2 table",
    specialty="evidence",
    citation="Altman DG, Bland JM. BMJ 1994;308:1552 and 1994;309:102. Deeks JJ, Altman DG. BMJ 2004;329:168",
    inputs=(
        integer("true_positive", "ill and test positive", 0, 10**9),
        integer("false_positive", "well and test positive", 0, 10**9),
        integer("false_negative", "ill and test negative", 0, 10**9),
        integer("true_negative", "well and test negative", 0, 10**9),
    ),
    bounds=(0, 1),
    unit="sensitivity",
    aliases=("2x2", "sensitivity and specificity", "diagnostic accuracy"),
    notes="The value is the sensitivity, the other measures are among the points; a ratio over 0 is left out.",
)
def diagnostic_2x2(*, true_positive: int, false_positive: int, false_negative: int, true_negative: int) -> Outcome:
    ill, well = true_positive + false_negative, false_positive + true_negative
    if not ill or not well:
        raise BadInput("false_negative" if not ill else "true_negative", "needs at least one ill and one well person")
    sensitivity, specificity = true_positive / ill, true_negative / well
    parts = {"sensitivity": sensitivity, "specificity": specificity}
    if positive := true_positive + false_positive:
        parts["ppv"] = true_positive / positive
    if negative := true_negative + false_negative:
        parts["npv"] = true_negative / negative
    if false_positive:
        parts["lr_positive"] = sensitivity / (1 - specificity)
    if true_negative:
        parts["lr_negative"] = (1 - sensitivity) / specificity
    return Outcome(sensitivity, parts)


@calculator(
    "Number needed to treat",
    specialty="evidence",
    citation="Laupacis A et al. N Engl J Med 1988;318:1728",
    inputs=(
        number("control_event_rate", "event rate without treatment", "fraction", 0, 1),
        number("experimental_event_rate", "event rate with treatment", "fraction", 0, 1),
    ),
    bounds=(None, None),
    unit="patients",
    aliases=("NNT",),
    notes="Negative: number needed to harm.",
)
def nnt(*, control_event_rate: float, experimental_event_rate: float) -> Outcome:
    reduction = control_event_rate - experimental_event_rate
    if reduction == 0:
        raise BadInput("experimental_event_rate", "equals the control rate, so no number needed to treat exists")
    return Outcome(1 / reduction, {"absolute_risk_reduction": reduction})


@calculator(
    "Post-test probability",
    specialty="evidence",
    citation="Deeks JJ, Altman DG. BMJ 2004;329:168",
    inputs=(
        number("pretest_probability", "probability before the test", "fraction", 0, 1),
        number("likelihood_ratio", "likelihood ratio of the result", "ratio", 0, 100000),
    ),
    bounds=(0, 1),
    unit="fraction",
    aliases=("Bayes", "post-test odds"),
)
def bayes_posttest(*, pretest_probability: float, likelihood_ratio: float) -> float:
    ill = pretest_probability * likelihood_ratio
    well = 1 - pretest_probability
    if ill + well == 0:
        raise BadInput("likelihood_ratio", "a ratio of 0 cannot follow from a certain diagnosis")
    return ill / (ill + well)


def _simpson(f: Callable[[float], float], low: float, high: float, steps: int = 400) -> float:
    width = (high - low) / steps
    inner = sum((4 if i % 2 else 2) * f(low + i * width) for i in range(1, steps))
    return width / 3 * (f(low) + inner + f(high))


def _t_cdf(t: float, freedom: int, shift: float = 0.0) -> float:
    """Distribution function of the noncentral t: the normal one averaged over the chi distribution of the scale."""
    log_norm = math.log(2) * (1 - freedom / 2) - math.lgamma(freedom / 2)

    def weigh(chi: float) -> float:
        if chi <= 0:
            return 0.0
        density = math.exp(log_norm + (freedom - 1) * math.log(chi) - chi * chi / 2)
        return density * 0.5 * math.erfc(-(t * chi / math.sqrt(freedom) - shift) / math.sqrt(2))

    centre = math.sqrt(freedom)
    return _simpson(weigh, max(0.0, centre - 9), centre + 9)


def _t_quantile(probability: float, freedom: int) -> float:
    low, high = 0.0, 100.0  # above the quantile for 2 degrees of freedom at the smallest alpha
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_cdf(middle, freedom) < probability else (low, middle)
    return high


def _power(per_group: int, effect: float, alpha: float) -> float:
    freedom = 2 * per_group - 2
    shift = effect * math.sqrt(per_group / 2)
    critical = _t_quantile(1 - alpha / 2, freedom)
    return 1 - _t_cdf(critical, freedom, shift) + _t_cdf(-critical, freedom, shift)


@calculator(
    "Sample size for two means",
    specialty="evidence",
    citation="Cohen J. Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988",
    inputs=(
        number("effect_size", "standardised difference (Cohen's d)", "", 0.05, 3),
        number("alpha", "two-sided significance level", "fraction", 0.001, 0.2),
        number("power", "power", "fraction", 0.5, 0.99),
    ),
    bounds=(2, None),
    unit="per group",
    aliases=("sample size", "sample size t-test"),
    notes="Two equal groups, two-sided t test, by the noncentral t distribution.",
)
def sample_size_two_means(*, effect_size: float, alpha: float, power: float) -> Outcome:
    low, high = 1, 2  # the power is too small at `low`; double until it suffices at `high`, then halve the gap
    while _power(high, effect_size, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _power(middle, effect_size, alpha) < power else (low, middle)
    return Outcome(high, {"achieved_power": _power(high, effect_size, alpha)})
