"""Pure reductions of a batch's trajectory records to the metrics that verl logs."""
