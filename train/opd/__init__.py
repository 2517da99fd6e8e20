"""TT-OPD: turn-level truncated on-policy distillation from an EMA teacher that has seen the outcome."""
