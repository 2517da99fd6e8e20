"""Finding calculators by the names that people use."""

from __future__ import annotations

import pytest

from medgym.tools.calculators import CalculatorError, UnknownCalculator, calculators, find


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CURB-65", "curb65"),
        ("curb65", "curb65"),
        ("wells pe", "wells_pe"),
        ("Wells PE, two-tier", "wells_pe_two_tier"),
        ("Wells DVT", "wells_dvt"),
        ("CHA2DS2-VASc", "cha2ds2_vasc"),
        ("CHA₂DS₂-VASc", "cha2ds2_vasc"),
        ("APACHE II", "apache_ii"),
        ("MELD", "meld"),
        ("MELD-Na", "meld_na_unos2016"),
        ("MELD 3.0", "meld_3_0"),
        ("Body Mass Index", "bmi"),
        ("q-SOFA", "qsofa"),
        ("SOFA", "sofa"),
        ("SIRS", "sirs"),
        ("news-2", "news2"),
        ("MEWS", "mews"),
        ("GCS", "gcs"),
        ("HEART score", "heart"),
        ("RTS", "rts_revised_trauma"),
        ("Bishop", "bishop"),
        ("Child Pugh", "child_pugh"),
        ("HASBLED", "has_bled"),
        ("PERC", "perc"),
        ("McIsaac", "centor_mcisaac"),
        ("PHQ 9", "phq9"),
        ("GAD-7", "gad7"),
        ("C-SSRS", "cssrs_screener"),
        ("AUDIT", "audit"),
        ("AUDIT-C", "audit_c"),
        ("EPDS", "epds"),
        ("Apgar", "apgar"),
        ("Glasgow-Blatchford", "glasgow_blatchford"),
        ("CKD-EPI", "ckd_epi_2021"),
        ("Cockcroft-Gault", "cockcroft_gault"),
        ("KDIGO AKI stage", "kdigo_aki"),
        ("Fridericia", "qtc_fridericia"),
        ("corrected anion gap", "anion_gap_corrected"),
        ("MAP", "map"),
        ("TIMI UA/NSTEMI", "timi_ua_nstemi"),
        ("simplified PESI", "spesi"),
        ("NIH Stroke Scale", "nihss"),
        ("4Ts", "four_ts"),
        ("Winter's formula", "winters"),
        ("P/F ratio", "pf_ratio"),
        ("A-a gradient", "aa_gradient"),
        ("Light’s criteria", "light_criteria"),
        ("Naegele", "naegele"),
        ("LACE", "lace"),
        ("CAGE", "cage"),
        ("PCL-5", "pcl5"),
        ("modified BPP", "modified_bpp"),
    ],
)
def test_find(name, expected):
    assert find(name).id == expected


@pytest.mark.parametrize(("name", "near"), [("CURB-56", "curb65"), ("wels dvt", "wells_dvt"), ("wells", "wells_pe")])
def test_an_unknown_name_lists_the_nearest(name, near):
    with pytest.raises(UnknownCalculator, match="nearest") as caught:
        find(name)
    assert near in caught.value.nearest
    assert isinstance(caught.value, CalculatorError)


def test_an_empty_name_is_unknown():
    with pytest.raises(UnknownCalculator):
        find("")


def test_no_name_is_shared():
    """Each id, name and alias leads back to its own calculator."""
    for item in calculators().values():
        for name in (item.id, item.name, *item.aliases):
            assert find(name) is item, name


def test_the_catalogue_is_fixed_and_read_only():
    assert list(calculators())[:3] == ["sofa", "qsofa", "sirs"]
    assert calculators() is calculators()
    assert all(key == item.id for key, item in calculators().items())
    with pytest.raises(TypeError):
        calculators()["mine"] = find("bmi")  # type: ignore[index]
