"""The asynchronous clients. `generate/sync.py` makes the synchronous ones in `caracal._sync` of these."""
