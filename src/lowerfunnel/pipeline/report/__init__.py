"""The report of a run: one self-contained page."""

from lowerfunnel.pipeline.report.data import ReportData
from lowerfunnel.pipeline.report.render import render_report

__all__ = ["ReportData", "render_report"]
