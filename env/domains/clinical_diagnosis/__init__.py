"""Bedside work-up: chart, interview, orders, diagnosis and first step."""
