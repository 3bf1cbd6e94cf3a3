"""What stands out in a run: rules on learning, on stability and on the sandbox, all in the shape of `mark`."""
