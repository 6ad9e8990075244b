"""The policy on worlds that nobody chose, and after a step: what it does where it was not tuned."""
