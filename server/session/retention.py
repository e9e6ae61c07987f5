"""How an utterance of any length keeps within bounds: evenly thinned out."""


def stride_of(count: int, limit: int) -> int:
    """Return the power of two by which `count` pieces must be thinned out so that at most `limit` stay."""
    stride = 1
    while count > limit * stride:
        stride *= 2
    return stride
