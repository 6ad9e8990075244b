"""The Penstock operator: reconciles InferenceService resources and decides how many replicas they need."""
