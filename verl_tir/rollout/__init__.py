"""The multi-turn rollout: pure turn rules, and one thin agent loop that applies them inside verl."""
