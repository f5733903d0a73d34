"""The market board of `demo` and `tail`: a view of a `RaceBook`, as a picture in a terminal or as lines."""
