"""Policy losses, advantages and reward shaping by name: each one small function and one yaml."""
