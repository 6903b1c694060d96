"""Writes everything that is generated: `python generate`, or with `--check` only says what differs."""

import sys

import calls
import models
import sync

# In this order: each reads what the one before it wrote.
results = [models.main(), calls.main(), sync.main()]
sys.exit(max(results))
