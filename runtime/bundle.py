"""An exported bundle on disk: finds its files and proves that each is what the manifest says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import BundleError, InputError
from runtime.files.regular import follow, read_small, read_start
from runtime.manifest import MANIFEST_NAME, PIXELS_VERSION, PRIOR_NAME, Manifest
from runtime.noise import NOISE_VERSION
from runtime.prior import PRIOR_VERSION, Prior

_MAX_MANIFEST_BYTES = 2**20


@dataclass(frozen=True)
class Bundle:
    """A folder that `vae-export` made, its manifest already read and checked."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path, *, public_key: str | Path | None = None) -> Bundle:
        """Read and check the manifest in `folder`; other files are checked when they are read.

        public_key: PEM file of the key that must have signed it; None asks for no signature. Needs the extra `sign`.
        Raises BundleError where the manifest is missing, unusable or not signed by this key.
        """
        folder = Path(folder)
        path = folder / MANIFEST_NAME
        try:
            text = read_small(path, _MAX_MANIFEST_BYTES)
        except OSError as error:
            hint = "" if folder.is_dir() else "; make a bundle with vae-export, or name the folder of one"
            raise BundleError(f"{path}: {error.strerror or error}{hint}") from error
        if public_key is not None:
            from runtime.signature import verify_signature

            verify_signature(folder, text, public_key)
        manifest = Manifest.from_json(text)
        if manifest.metadata.noise_version != NOISE_VERSION:
            raise BundleError(
                f"{path}: noise_version is {manifest.metadata.noise_version}, "
                f"but this runtime draws version {NOISE_VERSION}; its pictures would differ"
            )
        if manifest.pixels not in (None, PIXELS_VERSION):
            raise BundleError(
                f"{path}: pixels is {manifest.pixels}, but this runtime reads image files by version {PIXELS_VERSION}; "
                "update vae-toolchain"
            )
        return cls(folder, manifest)

    def read(self, name: str) -> bytes:
        """The content of one file. Raises BundleError unless it has the size and the sha256 that the manifest lists."""
        record = self.manifest.files.get(name)
        if record is None:
            raise BundleError(f"{self.folder}: {MANIFEST_NAME} lists no {name}")
        path = self.folder / name
        if follow(path).parent != follow(self.folder):
            raise BundleError(f"{path}: leads out of the bundle's folder")
        try:
            content = read_start(path, record.bytes + 1)
        except OSError as error:
            raise BundleError(f"{path}: {error.strerror or error}, though {MANIFEST_NAME} lists it") from error
        if len(content) != record.bytes:
            size = path.stat().st_size
            raise BundleError(f"{path}: should be {record.bytes:,} bytes but is {size:,}; copy the bundle again")
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise BundleError(f"{path}: its sha256 differs from the one in {MANIFEST_NAME}; copy the bundle again")
        return content

    def prior(self) -> Prior | None:
        """The mixture that samples are drawn from, None for N(0, I).

        Raises BundleError where its file is damaged, or is not what the manifest describes.
        """
        record = self.manifest.prior
        if record is None:
            return None
        if record.version != PRIOR_VERSION:
            raise BundleError(
                f"{self.folder}: its prior is of version {record.version}, but this runtime draws version "
                f"{PRIOR_VERSION}; its pictures would differ"
            )
        path = self.folder / PRIOR_NAME
        prior = Prior.from_npz(self.read(PRIOR_NAME), str(path), record.classes)
        found = prior.components, prior.slots, prior.latent_dim
        expected = record.components, record.slots, self.manifest.metadata.latent_dim
        for what, size, right in zip(("components", "slots", "latents"), found, expected, strict=True):
            if size != right:
                raise BundleError(f"{path}: should have {right} {what} as {MANIFEST_NAME} says but has {size}")
        return prior

    def graph_file(self, graph: str, file_format: str) -> str:
        """Name of the file that holds `graph` in `file_format`. Raises BundleError where the bundle has none.

        graph: decoder, encoder, sampler or reconstructor. file_format: a key of `runtime.manifest.SUFFIXES`.
        """
        found = self.manifest.graphs.get(graph)
        if found is None and self.manifest.graphs:
            raise BundleError(f"{self.folder}: has no {graph}, only {', '.join(self.manifest.graphs)}")
        if found is None or file_format not in found.files:
            raise BundleError(
                f"{self.folder}: holds no {graph} as {file_format}; run vae-export again with --format {file_format}"
            )
        return found.files[file_format]


def as_bundle(bundle: str | Path | Bundle, public_key: str | Path | None) -> Bundle:
    """`bundle` itself, or opened. Raises InputError for a key beside a bundle that is open: it was read already."""
    if not isinstance(bundle, Bundle):
        return Bundle.open(bundle, public_key=public_key)
    if public_key is not None:
        raise InputError("public_key goes with the folder of a bundle; for a Bundle, give it to Bundle.open")
    return bundle
