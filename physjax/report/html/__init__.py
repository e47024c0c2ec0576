"""One HTML page about runs and studies, which needs no network and no server."""

from physjax.report.html.page import write_page

__all__ = ["write_page"]
