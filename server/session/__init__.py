"""The streaming core: event time, reordering, buffers, watermarks, windows and revisions of one session.

Pure: no I/O, no clock, no tasks, no models. Messages go in, pieces to encode and windows to fuse come out, and the same
messages in the same order always give the same output.
"""
