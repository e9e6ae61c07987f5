"""What can go wrong with the embedded Triton."""


class TritonError(Exception):
    """The embedded Triton failed. The message is one sentence for the log or the terminal."""


class TritonUnavailableError(TritonError):
    """The embedded Triton can't run on this machine; the message says why in one line."""


class TritonStartError(TritonError):
    """Triton was started and did not get ready; the message carries what its log said."""
