"""Makes an API key: `python -m server.access.new_key NAME ROLE,ROLE` prints it, and the line for the file of keys."""

import hashlib
import secrets
import sys


def new_key() -> tuple[str, str]:
    """Return a random key and its SHA-256 in hexadecimal digits."""
    key = secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m server.access.new_key NAME ROLE,ROLE")
    key, digest = new_key()
    print(f"key (give it to {sys.argv[1]}, it is kept nowhere): {key}")
    print(f"line for the file of keys: {' '.join(sys.argv[1:])} {digest}")
