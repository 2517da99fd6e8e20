"""Learning from demonstrations and preferences: SFT, rejection sampling, DPO, the outcome verifier."""
