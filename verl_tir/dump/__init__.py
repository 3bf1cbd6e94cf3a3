"""The trajectory dump: one JSON line per trajectory and step."""
