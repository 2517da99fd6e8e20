"""Inputs that many calculators share, so that one name has one meaning, one unit and one plausible range."""

from __future__ import annotations

from .inputs import choice, integer, number

AGE = number("age", "age in completed years", "years", 0, 120)
ADULT_AGE = number("age", "age in completed years", "years", 16, 120)
SEX = choice("sex", "sex as used by the publication", "female", "male")

TEMPERATURE = number("temperature_c", "core body temperature", "degC", 25, 45)
HEART_RATE = number("heart_rate", "heart rate", "beats/min", 10, 300)
RESPIRATORY_RATE = number("respiratory_rate", "respiratory rate", "breaths/min", 0, 90)
SYSTOLIC = number("systolic_bp", "systolic blood pressure", "mmHg", 20, 300)
DIASTOLIC = number("diastolic_bp", "diastolic blood pressure", "mmHg", 5, 200)
MEAN_PRESSURE = number("mean_arterial_pressure", "mean arterial pressure", "mmHg", 10, 250)
SPO2 = number("spo2", "oxygen saturation", "%", 40, 100)
FIO2 = number("fio2", "inspired oxygen as a fraction, 0.21 on room air", "fraction", 0.21, 1.0)
PAO2 = number("pao2_mmhg", "arterial oxygen pressure", "mmHg", 20, 700)
PACO2 = number("paco2_mmhg", "arterial carbon dioxide pressure", "mmHg", 5, 200)
ARTERIAL_PH = number("arterial_ph", "arterial pH", "", 6.5, 8.0)
GCS_TOTAL = integer("gcs", "Glasgow Coma Scale total", 3, 15)

CREATININE = number("creatinine_mg_dl", "serum creatinine (umol/L divided by 88.4)", "mg/dL", 0.1, 40)
UREA = number("urea_mmol_l", "blood urea (BUN in mg/dL times 0.357)", "mmol/L", 0.3, 100)
BUN = number("bun_mg_dl", "blood urea nitrogen (urea in mmol/L times 2.8)", "mg/dL", 1, 280)
BILIRUBIN = number("bilirubin_mg_dl", "total bilirubin (umol/L divided by 17.1)", "mg/dL", 0.05, 80)
ALBUMIN = number("albumin_g_dl", "serum albumin (g/L divided by 10)", "g/dL", 0.5, 7)
INR = number("inr", "international normalised ratio", "", 0.5, 25)
SODIUM = number("sodium_mmol_l", "serum sodium", "mmol/L", 90, 210)
POTASSIUM = number("potassium_mmol_l", "serum potassium", "mmol/L", 1, 12)
CHLORIDE = number("chloride_mmol_l", "serum chloride", "mmol/L", 50, 170)
BICARBONATE = number("bicarbonate_mmol_l", "serum bicarbonate", "mmol/L", 1, 60)
GLUCOSE = number("glucose_mg_dl", "blood glucose (mmol/L times 18)", "mg/dL", 10, 2500)
HAEMOGLOBIN = number("haemoglobin_g_dl", "haemoglobin (g/L divided by 10)", "g/dL", 1, 26)
HAEMATOCRIT = number("haematocrit_pct", "haematocrit", "%", 5, 80)
PLATELETS = number("platelets", "platelet count", "10^9/L", 1, 3000)
WBC = number("wbc", "white cell count", "10^9/L", 0, 600)
AST = number("ast_u_l", "aspartate aminotransferase", "U/L", 1, 30000)
ALT = number("alt_u_l", "alanine aminotransferase", "U/L", 1, 30000)

WEIGHT = number("weight_kg", "actual body weight", "kg", 0.3, 400)
HEIGHT = number("height_cm", "height", "cm", 30, 260)
