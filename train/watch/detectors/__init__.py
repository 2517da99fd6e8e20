"""Detectors of the ways in which such training dies, one a module, and `Watch`, which acts on what they find."""

from .alarm import Alarm, Detector
from .watch import DETECTORS, Decision, StoppedByDetector, Watch

__all__ = ["DETECTORS", "Alarm", "Decision", "Detector", "StoppedByDetector", "Watch"]
