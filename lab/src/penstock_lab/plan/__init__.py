"""How many replicas of which accelerator a demand takes under an SLA, and what that costs, before anything runs."""
