"""What reaches the policy update: pure rules, and the one adapter that applies them to verl's replay buffer."""
