"""A bundle that travels to the workers by value, so that they need no folder in common with whoever asks for images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from runtime.bundle import Bundle
from runtime.manifest import PRIOR_NAME
from runtime.sampler import Sampler


@dataclass(frozen=True)
class ShippedBundle(Bundle):
    """A bundle's manifest and the files that drawing takes, once they are proven."""

    contents: dict[str, bytes]

    @classmethod
    def of(cls, sampler: Sampler) -> ShippedBundle:
        """What `sampler` draws with. Raises BundleError where the file has changed since."""
        bundle = sampler.bundle
        names = [sampler.decoder_file, *([PRIOR_NAME] if bundle.manifest.prior else [])]
        return cls(bundle.folder, bundle.manifest, {name: bundle.read(name) for name in names})

    def read(self, name: str) -> bytes:
        """The content of one file, proven when it was shipped."""
        return self.contents[name]

    @property
    def manifest_sha256(self) -> str:
        """sha256 of the manifest, which names that of every other file and so identifies the whole bundle."""
        return hashlib.sha256(self.manifest.to_json().encode("utf-8")).hexdigest()
