"""The Penstock worker: a continuous-batching PyTorch engine behind an OpenAI-compatible HTTP server."""
