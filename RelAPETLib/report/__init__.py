"""What a person reads: the page of one synthesis as a picture and as HTML, the page of a cohort, a model's card."""

from .cohort import write_cohort_report
from .person import write_html_report
from .pictures import BURNED_IN
from .still import write_report

__all__ = ["BURNED_IN", "write_cohort_report", "write_html_report", "write_report"]
