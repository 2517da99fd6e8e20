"""Liver disease: transplant priority, cirrhosis class, alcoholic hepatitis and fibrosis."""

from __future__ import annotations

import math

from .calculator import Outcome, above, at_least, calculator, lowest, reaching, total, up_to
from .inputs import choice, number, yes_no
from .vocabulary import ADULT_AGE, ALBUMIN, ALT, AST, BILIRUBIN, CREATININE, INR, PLATELETS, SEX, SODIUM

_DIALYSIS = yes_no("dialysis", "dialysis twice or more in the past week, or 24 h of continuous dialysis")


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _meld_points(bilirubin: float, inr: float, creatinine: float, dialysis: bool) -> int:
    """10 x the Kamath formula to the nearest whole number: floors of 1.0, creatinine at most 4.0."""
    creatinine = 4.0 if dialysis else _clamp(creatinine, 1.0, 4.0)
    score = 0.957 * math.log(creatinine) + 0.378 * math.log(max(bilirubin, 1)) + 1.120 * math.log(max(inr, 1)) + 0.643
    return _half_up(10 * score)


@calculator(
    "Child-Pugh",
    specialty="gastroenterology",
    citation="Pugh RNH et al. Br J Surg 1973;60:646",
    inputs=(
        BILIRUBIN,
        ALBUMIN,
        INR,
        choice("ascites", "ascites", "none", "mild", "moderate_or_severe"),
        choice("encephalopathy", "hepatic encephalopathy", "none", "grade_1_2", "grade_3_4"),
        yes_no("cholestatic_disease", "primary biliary cholangitis or primary sclerosing cholangitis"),
    ),
    bounds=(5, 15),
    bands=(
        lowest("A", "well compensated"),
        at_least(7, "B", "significant functional compromise"),
        at_least(10, "C", "decompensated"),
    ),
    aliases=("Child-Turcotte-Pugh", "CTP", "Child Pugh score", "Child-Pugh class"),
)
def child_pugh(
    *,
    bilirubin_mg_dl: float,
    albumin_g_dl: float,
    inr: float,
    ascites: str,
    encephalopathy: str,
    cholestatic_disease: bool,
) -> Outcome:
    low, high = (4, 10) if cholestatic_disease else (2, 3)
    return total(
        bilirubin=1 if bilirubin_mg_dl < low else up_to(bilirubin_mg_dl, (high, 2), otherwise=3),
        albumin=1 if albumin_g_dl > 3.5 else reaching(albumin_g_dl, (2.8, 2), otherwise=3),
        inr=1 if inr < 1.7 else up_to(inr, (2.3, 2), otherwise=3),
        ascites=("none", "mild", "moderate_or_severe").index(ascites) + 1,
        encephalopathy=("none", "grade_1_2", "grade_3_4").index(encephalopathy) + 1,
    )


@calculator(
    "MELD",
    specialty="gastroenterology",
    citation="Kamath PS et al. Hepatology 2001;33:464. Wiesner R et al. Gastroenterology 2003;124:91",
    inputs=(BILIRUBIN, INR, CREATININE, _DIALYSIS),
    bounds=(6, 40),
    bands=(
        lowest("6-9", "3-month mortality about 2%"),
        at_least(10, "10-19", "3-month mortality about 6%"),
        at_least(20, "20-29", "3-month mortality about 20%"),
        at_least(30, "30-39", "3-month mortality about 53%"),
        at_least(40, "40", "3-month mortality about 71%"),
    ),
    aliases=("model for end-stage liver disease", "MELD original"),
    notes="Age 12 or over.",
)
def meld(*, bilirubin_mg_dl: float, inr: float, creatinine_mg_dl: float, dialysis: bool) -> float:
    return _clamp(_meld_points(bilirubin_mg_dl, inr, creatinine_mg_dl, dialysis), 6, 40)


@calculator(
    "MELD-Na",
    specialty="gastroenterology",
    citation="Kim WR et al. N Engl J Med 2008;359:1018. OPTN/UNOS policy 9, 2016",
    inputs=(BILIRUBIN, INR, CREATININE, _DIALYSIS, SODIUM),
    bounds=(6, 40),
    aliases=("MELD Na", "MELD sodium", "MELD-Na UNOS 2016"),
    notes="Transplant priority in the United States from 2016 to 2023; age 12 or over.",
)
def meld_na_unos2016(
    *, bilirubin_mg_dl: float, inr: float, creatinine_mg_dl: float, dialysis: bool, sodium_mmol_l: float
) -> Outcome:
    initial = _meld_points(bilirubin_mg_dl, inr, creatinine_mg_dl, dialysis)
    deficit = 137 - _clamp(sodium_mmol_l, 125, 137)
    # The policy adds the sodium term only above 11.
    score = initial + 1.32 * deficit - 0.033 * initial * deficit if initial > 11 else initial
    value = _clamp(_half_up(score), 6, 40)
    return Outcome(value, {"meld_initial": initial})


@calculator(
    "MELD 3.0",
    specialty="gastroenterology",
    citation="Kim WR et al. Gastroenterology 2021;161:1887",
    inputs=(BILIRUBIN, INR, CREATININE, _DIALYSIS, SODIUM, ALBUMIN, SEX),
    bounds=(6, 40),
    aliases=("MELD3",),
    notes="Transplant priority in the United States since 2023. The point for female sex is for adults.",
)
def meld_3_0(
    *,
    bilirubin_mg_dl: float,
    inr: float,
    creatinine_mg_dl: float,
    dialysis: bool,
    sodium_mmol_l: float,
    albumin_g_dl: float,
    sex: str,
) -> float:
    ln_bilirubin = math.log(max(bilirubin_mg_dl, 1))
    ln_inr = math.log(max(inr, 1))
    ln_creatinine = math.log(3.0 if dialysis else _clamp(creatinine_mg_dl, 1.0, 3.0))
    deficit = 137 - _clamp(sodium_mmol_l, 125, 137)
    wasting = 3.5 - _clamp(albumin_g_dl, 1.5, 3.5)
    score = (
        1.33 * (sex == "female")
        + 4.56 * ln_bilirubin
        + 0.82 * deficit
        - 0.24 * deficit * ln_bilirubin
        + 9.09 * ln_inr
        + 11.14 * ln_creatinine
        + 1.85 * wasting
        - 1.83 * wasting * ln_creatinine
        + 6
    )
    return _clamp(_half_up(score), 6, 40)


@calculator(
    "Maddrey discriminant function",
    specialty="gastroenterology",
    citation="Maddrey WC et al. Gastroenterology 1978;75:193",
    inputs=(
        number("prothrombin_time_s", "prothrombin time", "s", 5, 200),
        number("control_time_s", "laboratory's control prothrombin time", "s", 8, 20),
        BILIRUBIN,
    ),
    bounds=(None, None),
    bands=(lowest("not severe"), at_least(32, "severe", "severe alcoholic hepatitis: consider corticosteroids")),
    aliases=("Maddrey", "mDF", "discriminant function"),
)
def maddrey_df(*, prothrombin_time_s: float, control_time_s: float, bilirubin_mg_dl: float) -> float:
    return 4.6 * (prothrombin_time_s - control_time_s) + bilirubin_mg_dl


@calculator(
    "FIB-4",
    specialty="gastroenterology",
    citation="Sterling RK et al. Hepatology 2006;43:1317. Shah AG et al. Clin Gastroenterol Hepatol 2009;7:1104",
    inputs=(ADULT_AGE, AST, ALT, PLATELETS),
    bounds=(0, None),
    unit="index",
    bands=(
        lowest("low", "advanced fibrosis unlikely"),
        at_least(1.3, "indeterminate"),
        above(2.67, "high", "advanced fibrosis likely"),
    ),
    aliases=("FIB4", "fibrosis-4"),
    notes="Cut-offs for fatty liver disease; at age 65 or over 2.0 replaces 1.3. HIV/HCV: 1.45 and 3.25.",
)
def fib4(*, age: float, ast_u_l: float, alt_u_l: float, platelets: float) -> Outcome:
    index = age * ast_u_l / (platelets * math.sqrt(alt_u_l))
    return Outcome(index, band="low" if age >= 65 and index < 2.0 else None)


@calculator(
    "APRI",
    specialty="gastroenterology",
    citation="Wai CT et al. Hepatology 2003;38:518",
    inputs=(AST, number("ast_upper_limit_u_l", "laboratory's upper limit for AST", "U/L", 10, 100), PLATELETS),
    bounds=(0, None),
    unit="index",
    bands=(
        lowest("0.5 or less", "significant fibrosis unlikely"),
        above(0.5, "indeterminate"),
        above(1.5, "significant fibrosis", "significant fibrosis likely in chronic hepatitis C"),
        above(2.0, "cirrhosis", "cirrhosis likely in chronic hepatitis C"),
    ),
    aliases=("AST to platelet ratio index",),
    notes="WHO 2024 uses lower cut-offs for hepatitis B.",
)
def apri(*, ast_u_l: float, ast_upper_limit_u_l: float, platelets: float) -> float:
    return ast_u_l / ast_upper_limit_u_l / platelets * 100


@calculator(
    "Serum-ascites albumin gradient",
    specialty="gastroenterology",
    citation="Runyon BA et al. Ann Intern Med 1992;117:215",
    inputs=(ALBUMIN, number("ascites_albumin_g_dl", "albumin in ascites, same day", "g/dL", 0, 7)),
    bounds=(None, None),
    unit="g/dL",
    bands=(lowest("low", "portal hypertension unlikely"), at_least(1.1, "high", "portal hypertension")),
    aliases=("SAAG",),
)
def saag(*, albumin_g_dl: float, ascites_albumin_g_dl: float) -> float:
    return round(albumin_g_dl - ascites_albumin_g_dl, 6)  # 3.0 - 1.9 must reach 1.1
