"""The policy beside its rivals: tuned on first halves of traces, compared on second halves and on made traffic."""
