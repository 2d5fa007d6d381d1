"""What a person reads: pages of one synthesis (picture, HTML, PDF) and of a cohort, and a model's card."""

from .cohort import write_cohort_report
from .notes import below_pictures, notes_of
from .onepage import write_pdf_report
from .person import write_html_report
from .pictures import BURNED_IN
from .still import write_report

__all__ = [
    "BURNED_IN",
    "below_pictures",
    "notes_of",
    "write_cohort_report",
    "write_html_report",
    "write_pdf_report",
    "write_report",
]
