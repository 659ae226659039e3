"""Images on Ray Data, on one machine or on a cluster. Needs the extra `ray`; nothing else imports this room unasked.

samples   a bundle and a number of images → a `ray.data.Dataset` with the rows (index, image)
"""

from runtime.errors import EngineError

try:
    from runtime.ray.dataset import samples
except ImportError as error:
    raise EngineError(
        f"Ray Data cannot be imported here ({error}); install it with: pip install 'vae-toolchain[ray]'"
    ) from error

__all__ = ["samples"]
