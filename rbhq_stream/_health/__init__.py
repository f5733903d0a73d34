"""How the health of a feed is determined: observations and the time in, states and reasons out. Pure."""
