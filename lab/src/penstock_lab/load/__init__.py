"""Open-loop load: requests leave at their appointed times, however slow the answers are."""
