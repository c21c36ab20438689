"""A server between the program and the simulator, which on command does to answers what networks and gateways do."""
