"""The HTML report: data, pages, charts, maps and pictures."""
