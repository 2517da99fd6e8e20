"""The study: many runs of a grid on one device, in slices of time, and the report on what came out."""
