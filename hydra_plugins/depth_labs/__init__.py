"""Hydra plugins of this project. Hydra imports them at every start, so they import ray, optuna and torch only when used."""
