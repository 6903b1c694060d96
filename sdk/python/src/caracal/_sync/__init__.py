"""The synchronous clients, which `generate/sync.py` makes of the asynchronous ones in `caracal._async`."""
