"""A bundle that travels to the workers by value, so that they need no folder in common with whoever asks for images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from runtime.bundle import Bundle
from runtime.sampler import Sampler


@dataclass(frozen=True)
class ShippedBundle(Bundle):
    """A bundle's manifest and the files that drawing takes, once they are proven."""

    contents: dict[str, bytes]

    @classmethod
    def of(cls, sampler: Sampler) -> ShippedBundle:
        """What `sampler` draws with. Raises BundleError where the file has changed since."""
        bundle = sampler.bundle
        return cls(bundle.folder, bundle.manifest, {sampler.decoder_file: bundle.read(sampler.decoder_file)})

    def read(self, name: str) -> bytes:
        """The content of one file, proven when it was shipped."""
        return self.contents[name]

    @property
    def manifest_sha256(self) -> str:
        """sha256 of the manifest, which names that of every other file and so identifies the whole bundle."""
        return hashlib.sha256(self.manifest.to_json().encode("utf-8")).hexdigest()
