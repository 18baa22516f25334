"""What the tests stand on: the template, engines, a clock, fakes, and a world to play in."""
