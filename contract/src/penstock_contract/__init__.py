"""Names, buckets, step model and profile schema that gateway, worker, operator and simulator share.

The package imports the standard library only and nothing of Penstock, so that every part can import it
without pulling in another. `docs/contract.md` is the prose; `tests/contract` checks each part against it.
"""
