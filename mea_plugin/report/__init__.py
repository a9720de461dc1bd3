"""The report: figures, tables and one HTML page out of what was measured."""
