"""Drawing images with Ray Data, on one machine or a cluster. Needs the extra `ray`; only this package imports Ray.

samples   a bundle and a number of images → a `ray.data.Dataset` with rows (index, image)
"""

from runtime.errors import EngineError
from runtime.extras import how_to_install

try:
    from runtime.ray.dataset import samples
except ImportError as error:
    raise EngineError(
        f"Ray Data cannot be imported here ({error}); install it with: {how_to_install('ray')}"
    ) from error

__all__ = ["samples"]
