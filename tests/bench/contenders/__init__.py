"""Who reads the topic: each module is a program that takes a `Job` as JSON and prints an `Outcome` as JSON."""
