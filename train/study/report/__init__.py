"""The report on a study: `write_study_report` makes a page, its tables and its pictures from the study's folder.

A pure function of that folder: the same files, packed or not, give the same bytes on any day. Pictures need
matplotlib, which is imported when the first one is drawn.
"""

from .write import write_study_report

__all__ = ["write_study_report"]
