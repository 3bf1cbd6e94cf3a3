"""Sandbox servers as Ray actors of the training job, one on each node: `tir.sandbox.endpoints=ray`."""
