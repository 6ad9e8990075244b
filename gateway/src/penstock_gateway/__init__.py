"""The gateway: one OpenAI endpoint for every `InferenceService`.

It watches services and worker pods, sends each request to the ready worker with the least outstanding work, keeps
requests while no worker can take them, and measures the service level where the client feels it.
"""
