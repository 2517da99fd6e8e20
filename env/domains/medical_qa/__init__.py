"""Exam-style medical questions, answered from a searched literature."""
