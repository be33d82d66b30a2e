"""Trials on Ray Tune: many workers, GPUs and nodes, the same ledger, the same objective, the same search.

Nothing is imported here: a Ray worker needs `worker`, and neither the driver's ledger nor Optuna.
"""
