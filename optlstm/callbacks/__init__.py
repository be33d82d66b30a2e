"""Callbacks that report, prune and track a trial for libraries with a training loop of their own; each is an extra."""
