//! Runs in a database: what went over the links, frame by frame, with statistics. Reads taps, never lines.
