"""What this project adds to Hydra. Hydra imports it at every start: nothing here imports ray, optuna or torch by itself."""
