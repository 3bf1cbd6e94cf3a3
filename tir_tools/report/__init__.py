"""What a run did, for people: one HTML file, or a view in the terminal, from verl's own logs and the trajectory "
"dump."""
