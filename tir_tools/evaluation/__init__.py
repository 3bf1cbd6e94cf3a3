"""`verl-tir eval`: a checkpoint and benchmark files to a table, by way of verl's own validation."""
