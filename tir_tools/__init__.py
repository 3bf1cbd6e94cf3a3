"""What people use around a run: data, demo, evaluation, report, serving; installed with the extra `[tools]`."""
