"""From the counts of all rooms to windows, summaries and what the instructor sees."""
