"""A bundle that is sent to the workers by value, so that they need no shared file system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from runtime.bundle import Bundle
from runtime.manifest import PRIOR_NAME
from runtime.sampler import Sampler


@dataclass(frozen=True)
class ShippedBundle(Bundle):
    """A bundle's manifest and the verified files that are needed for drawing."""

    contents: dict[str, bytes]

    @classmethod
    def of(cls, sampler: Sampler) -> ShippedBundle:
        """The bundle that `sampler` uses. Raises BundleError if its file has changed since it was opened."""
        bundle = sampler.bundle
        names = [sampler.decoder_file, *([PRIOR_NAME] if bundle.manifest.prior else [])]
        return cls(bundle.folder, bundle.manifest, {name: bundle.read(name) for name in names})

    def read(self, name: str) -> bytes:
        """The content of one file, verified before it was sent."""
        return self.contents[name]

    @property
    def manifest_sha256(self) -> str:
        """sha256 of the manifest. It identifies the bundle, because the manifest contains the sha256 of every file."""
        return hashlib.sha256(self.manifest.to_json().encode("utf-8")).hexdigest()
