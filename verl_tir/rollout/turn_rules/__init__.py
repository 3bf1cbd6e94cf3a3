"""The turn rules that come with the package, one small file each; `rollout.turn_rule` says what a rule is."""
