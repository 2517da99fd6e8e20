"""Trauma and infection at the door: trauma scores, sore throat, necrotising infection, septic hip, croup."""

from __future__ import annotations

from .calculator import Outcome, above, at_least, calculator, lowest, reaching, total
from .inputs import answers, choice, integer, number, yes_no
from .vocabulary import CREATININE, GCS_TOTAL, GLUCOSE, HAEMOGLOBIN, RESPIRATORY_RATE, SODIUM, WBC


@calculator(
    "Revised Trauma Score",
    specialty="trauma",
    citation="Champion HR et al. J Trauma 1989;29:623",
    inputs=(GCS_TOTAL, number("systolic_bp", "systolic blood pressure", "mmHg", 0, 300), RESPIRATORY_RATE),
    bounds=(0, 7.8408),
    bands=(lowest("severe", "below 4: trauma centre"), at_least(4, "less severe")),
    aliases=("RTS",),
    notes="The unweighted triage sum (T-RTS) calls for a trauma centre at 11 or less.",
)
def rts_revised_trauma(*, gcs: int, systolic_bp: float, respiratory_rate: float) -> Outcome:
    codes = {
        "gcs": reaching(gcs, (13, 4), (9, 3), (6, 2), (4, 1), otherwise=0),
        "systolic": 4 if systolic_bp > 89 else reaching(systolic_bp, (76, 3), (50, 2), (1, 1), otherwise=0),
        "respiration": 3 if respiratory_rate > 29 else reaching(respiratory_rate, (10, 4), (6, 2), (1, 1), otherwise=0),
    }
    value = 0.9368 * codes["gcs"] + 0.7326 * codes["systolic"] + 0.2908 * codes["respiration"]
    triage = sum(codes.values())
    call = "trauma centre" if triage <= 11 else "no trauma-centre criterion"
    return Outcome(round(value, 4), codes, detail=f"T-RTS {triage:g}: {call}")


_REGIONS = ("head_neck", "face", "chest", "abdomen", "extremities", "external")


@calculator(
    "Injury Severity Score",
    specialty="trauma",
    citation="Baker SP et al. J Trauma 1974;14:187",
    inputs=tuple(
        integer(region, f"highest AIS severity in {region.replace('_', ' and ')}, 0 if uninjured", 0, 6)
        for region in _REGIONS
    ),
    bounds=(0, 75),
    bands=(lowest("not major"), above(15, "major trauma")),
    licence="free; the AIS dictionary is licensed (AAAM)",
    aliases=("ISS",),
)
def iss(**severities: int) -> Outcome:
    worst = sorted(severities.values(), reverse=True)[:3]
    value = 75 if worst[0] == 6 else sum(severity**2 for severity in worst)
    return Outcome(value, severities)


@calculator(
    "Centor score, McIsaac",
    specialty="infection",
    citation="Centor RM et al. Med Decis Making 1981;1:239. McIsaac WJ et al. CMAJ 1998;158:75",
    inputs=(
        *answers(
            exudate="tonsillar swelling or exudate",
            tender_nodes="tender anterior cervical nodes",
            fever="temperature above 38 degC",
            no_cough="no cough",
        ),
        number("age", "age in completed years", "years", 3, 120),
    ),
    bounds=(-1, 5),
    bands=(
        lowest("0 or less", "group A streptococcus in 1-2.5%"),
        at_least(1, "1", "group A streptococcus in 5-10%"),
        at_least(2, "2", "group A streptococcus in 11-17%"),
        at_least(3, "3", "group A streptococcus in 28-35%"),
        at_least(4, "4 or more", "group A streptococcus in 51-53%"),
    ),
    aliases=("Centor", "McIsaac", "Centor/McIsaac", "modified Centor"),
)
def centor_mcisaac(*, age: float, **findings: bool) -> Outcome:
    return total(**findings, age=reaching(age, (45, -1), (15, 0), otherwise=1))


@calculator(
    "LRINEC",
    specialty="infection",
    citation="Wong CH et al. Crit Care Med 2004;32:1535",
    inputs=(
        number("crp_mg_l", "C-reactive protein", "mg/L", 0, 1000),
        WBC,
        HAEMOGLOBIN,
        SODIUM,
        CREATININE,
        GLUCOSE,
    ),
    bounds=(0, 13),
    bands=(
        lowest("low", "a low score does not exclude necrotising fasciitis"),
        at_least(6, "intermediate"),
        at_least(8, "high"),
    ),
)
def lrinec(
    *,
    crp_mg_l: float,
    wbc: float,
    haemoglobin_g_dl: float,
    sodium_mmol_l: float,
    creatinine_mg_dl: float,
    glucose_mg_dl: float,
) -> Outcome:
    return total(
        crp=4 * (crp_mg_l >= 150),
        white_cells=2 if wbc > 25 else reaching(wbc, (15, 1), otherwise=0),
        haemoglobin=0 if haemoglobin_g_dl > 13.5 else reaching(haemoglobin_g_dl, (11, 1), otherwise=2),
        sodium=2 * (sodium_mmol_l < 135),
        creatinine=2 * (creatinine_mg_dl > 1.6),
        glucose=glucose_mg_dl > 180,
    )


@calculator(
    "Kocher criteria",
    specialty="orthopaedics",
    citation="Kocher MS et al. J Bone Joint Surg Am 1999;81:1662",
    inputs=(
        yes_no("fever", "temperature above 38.5 degC"),
        yes_no("non_weight_bearing", "cannot bear weight"),
        number("esr_mm_h", "erythrocyte sedimentation rate", "mm/h", 0, 200),
        WBC,
    ),
    bounds=(0, 4),
    bands=(
        lowest("0", "septic arthritis below 0.2% in the original cohort"),
        at_least(1, "1", "septic arthritis 3% in the original cohort"),
        at_least(2, "2", "septic arthritis 40% in the original cohort"),
        at_least(3, "3", "septic arthritis 93% in the original cohort"),
        at_least(4, "4", "septic arthritis 99% in the original cohort"),
    ),
    aliases=("Kocher",),
    notes="Children with a painful hip.",
)
def kocher(*, fever: bool, non_weight_bearing: bool, esr_mm_h: float, wbc: float) -> Outcome:
    return total(fever=fever, non_weight_bearing=non_weight_bearing, esr=esr_mm_h >= 40, white_cells=wbc > 12)


@calculator(
    "Westley croup score",
    specialty="paediatrics",
    citation="Westley CR et al. Am J Dis Child 1978;132:484",
    inputs=(
        integer("stridor", "0 none, 1 when agitated, 2 at rest", 0, 2),
        integer("retractions", "0 none, 1 mild, 2 moderate, 3 severe", 0, 3),
        integer("air_entry", "0 normal, 1 decreased, 2 markedly decreased", 0, 2),
        choice("cyanosis", "0 none, 4 when agitated, 5 at rest", 0, 4, 5),
        choice("consciousness", "0 normal, 5 disoriented", 0, 5),
    ),
    bounds=(0, 17),
    bands=(
        lowest("mild"),
        at_least(3, "moderate"),
        at_least(8, "severe"),
        at_least(12, "impending failure", "impending respiratory failure"),
    ),
    aliases=("Westley",),
)
def westley_croup(*, stridor: int, retractions: int, air_entry: int, cyanosis: int, consciousness: int) -> Outcome:
    return total(
        stridor=stridor, retractions=retractions, air_entry=air_entry, cyanosis=cyanosis, consciousness=consciousness
    )
