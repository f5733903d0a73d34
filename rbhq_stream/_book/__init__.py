"""What the events add up to: the state of each race, its deductions, what a bet is worth. Pure: no I/O, no clock."""
