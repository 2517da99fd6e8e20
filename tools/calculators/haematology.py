"""Blood: heparin-induced thrombocytopenia, disseminated coagulation, thrombosis risk in cancer, iron deficit."""

from __future__ import annotations

from .calculator import Outcome, at_least, calculator, lowest, reaching, total
from .inputs import BadInput, choice, integer, number, yes_no
from .vocabulary import HAEMOGLOBIN, PLATELETS, WBC, WEIGHT


@calculator(
    "4Ts",
    specialty="haematology",
    citation="Lo GK et al. J Thromb Haemost 2006;4:759",
    inputs=(
        integer("thrombocytopenia", "0 fall <30%, 1 fall 30-50%, 2 fall >50% with nadir 20 or more", 0, 2),
        integer("timing", "0 before day 4, 1 unclear or after day 10, 2 days 5-10 or within a day if re-exposed", 0, 2),
        integer("thrombosis", "0 none, 1 progressive or suspected, 2 new thrombosis or skin necrosis", 0, 2),
        integer("other_causes", "0 definite, 1 possible, 2 none apparent", 0, 2),
    ),
    bounds=(0, 8),
    bands=(
        lowest("low", "heparin-induced thrombocytopenia unlikely"),
        at_least(4, "intermediate"),
        at_least(6, "high"),
    ),
    aliases=("4T score", "four Ts", "4Ts score"),
)
def four_ts(*, thrombocytopenia: int, timing: int, thrombosis: int, other_causes: int) -> Outcome:
    return total(thrombocytopenia=thrombocytopenia, timing=timing, thrombosis=thrombosis, other_causes=other_causes)


@calculator(
    "ISTH overt DIC",
    specialty="haematology",
    citation="Taylor FB et al. Thromb Haemost 2001;86:1327",
    inputs=(
        PLATELETS,
        choice("fibrin_marker", "D-dimer or fibrin degradation products: rise", "none", "moderate", "strong"),
        number("pt_prolongation_s", "prolongation of the prothrombin time", "s", 0, 200),
        number("fibrinogen_g_l", "fibrinogen", "g/L", 0, 15),
    ),
    bounds=(0, 8),
    bands=(
        lowest("not overt", "repeat in 1-2 days"),
        at_least(5, "overt", "overt disseminated intravascular coagulation"),
    ),
    aliases=("ISTH DIC", "DIC score"),
    notes="Only with a disorder known to cause disseminated coagulation.",
)
def isth_dic(*, platelets: float, fibrin_marker: str, pt_prolongation_s: float, fibrinogen_g_l: float) -> Outcome:
    prothrombin = 2 if pt_prolongation_s > 6 else reaching(pt_prolongation_s, (3, 1), otherwise=0)
    return total(
        platelets=0 if platelets > 100 else reaching(platelets, (50, 1), otherwise=2),
        fibrin_marker={"none": 0, "moderate": 2, "strong": 3}[fibrin_marker],
        prothrombin_time=prothrombin,
        fibrinogen=fibrinogen_g_l < 1.0,
    )


_KHORANA_SITES = {
    "stomach": 2,
    "pancreas": 2,
    "lung": 1,
    "lymphoma": 1,
    "gynaecological": 1,
    "bladder": 1,
    "testis": 1,
    "other": 0,
}


@calculator(
    "Khorana score",
    specialty="oncology",
    citation="Khorana AA et al. Blood 2008;111:4902",
    inputs=(
        choice("site", "site of the cancer", *_KHORANA_SITES),
        PLATELETS,
        HAEMOGLOBIN,
        yes_no("erythropoiesis_stimulant", "treated with an erythropoiesis-stimulating agent"),
        WBC,
        number("bmi", "body mass index", "kg/m2", 8, 120),
    ),
    bounds=(0, 6),
    bands=(
        lowest("low"),
        at_least(1, "intermediate", "trials of prophylaxis enrolled from 2"),
        at_least(3, "high", "high risk of thromboembolism"),
    ),
    aliases=("Khorana",),
)
def khorana(
    *, site: str, platelets: float, haemoglobin_g_dl: float, erythropoiesis_stimulant: bool, wbc: float, bmi: float
) -> Outcome:
    return total(
        site=_KHORANA_SITES[site],
        platelets=platelets >= 350,
        haemoglobin=haemoglobin_g_dl < 10 or erythropoiesis_stimulant,
        white_cells=wbc > 11,
        bmi=bmi >= 35,
    )


@calculator(
    "Iron deficit, Ganzoni",
    specialty="haematology",
    citation="Ganzoni AM. Schweiz Med Wochenschr 1970;100:301",
    inputs=(WEIGHT, number("target_haemoglobin_g_dl", "target haemoglobin", "g/dL", 8, 20), HAEMOGLOBIN),
    bounds=(0, None),
    unit="mg",
    aliases=("Ganzoni", "iron deficit"),
    notes="Stores: 500 mg from 35 kg, 15 mg/kg below.",
)
def iron_deficit_ganzoni(*, weight_kg: float, target_haemoglobin_g_dl: float, haemoglobin_g_dl: float) -> Outcome:
    if target_haemoglobin_g_dl <= haemoglobin_g_dl:
        raise BadInput("target_haemoglobin_g_dl", f"must be above the actual {haemoglobin_g_dl:g} g/dL")
    stores = 500 if weight_kg >= 35 else 15 * weight_kg
    return total(haemoglobin=weight_kg * (target_haemoglobin_g_dl - haemoglobin_g_dl) * 2.4, stores=stores)
