"""The demo's problems: small for a program, too large for a small model's head."""
