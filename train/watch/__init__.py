"""Watching a run: metrics, intervals, detectors and their actions, dashboard, plots, report."""
