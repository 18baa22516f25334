"""Pure decisions: who is live, what changed, what to count. The time is passed in."""
