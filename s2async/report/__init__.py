"""The HTML report: its data, pages, charts, maps and images."""
