"""The signature of a bundle: who made it, where hashes say only that it is whole.

`manifest.json` holds the sha256 of every other file, so a signature of it stands for the bundle. `manifest.json.sig`
beside it is in the OpenSSF Model Signing format (a Sigstore bundle) and is made and checked by its library,
`model-signing`, with a key on an elliptic curve (P-256, P-384 or P-521). Its own command checks it too:
`model_signing verify key BUNDLE/manifest.json --signature BUNDLE/manifest.json.sig --public_key KEY.pub`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from runtime.errors import BundleError, InputError
from runtime.files.regular import read_small
from runtime.manifest import MANIFEST_NAME

SIGNATURE_NAME = f"{MANIFEST_NAME}.sig"
_MOST_BYTES = 2**20  # of a key or a signature, which have a few thousand


def load_signer(private_key: Path) -> Any:
    """What signs with the key in this PEM file, for `sign`. Raises InputError where it is no such key."""
    from model_signing import signing

    _read(private_key, InputError)
    try:
        return signing.Config().use_elliptic_key_signer(private_key=private_key)
    except Exception as error:  # cryptography raises TypeError, ValueError and classes of its own
        raise InputError(
            f"{private_key}: is not an unencrypted private key on the curve P-256, P-384 or P-521 in PEM "
            f"({_why_no_key(error)})"
        ) from error


def sign(folder: Path, signer: Any) -> None:
    """Write the signature of the manifest in `folder`. signer: of `load_signer`."""
    signer.sign(folder / MANIFEST_NAME, folder / SIGNATURE_NAME)


def verify_signature(folder: Path, manifest: bytes, public_key: str | Path) -> None:
    """Raise BundleError unless `folder` holds a signature of these bytes of its manifest by the owner of the key.

    public_key: a PEM file. Raises InputError where it is no key on such a curve.
    """
    from model_signing import verifying

    if not isinstance(public_key, str | os.PathLike):
        raise InputError(f"public_key should be the path of a PEM file, but is a {type(public_key).__name__}")
    key, path = Path(public_key), folder / SIGNATURE_NAME
    _read(key, InputError)
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:  # as above
        raise InputError(
            f"{key}: is not a public key on the curve P-256, P-384 or P-521 in PEM ({_why_no_key(error)})"
        ) from error
    signature = _read(path, BundleError)
    with tempfile.TemporaryDirectory() as scratch:
        # Copies of what was read: the files in the bundle could be others by the time that the library reads them.
        proven, proof = Path(scratch) / MANIFEST_NAME, Path(scratch) / SIGNATURE_NAME
        proven.write_bytes(manifest)
        proof.write_bytes(signature)
        try:
            verifier.verify(proven, proof)
        except Exception as error:  # whatever it is, the signature has not been verified
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BundleError(
                f"{path}: is not a signature of this manifest by the owner of {key} ({reason}); do not trust the bundle"
            ) from error


def _why_no_key(error: Exception) -> str:
    """model-signing asks each key for its curve, and only those on an elliptic curve have one."""
    return "it is of another kind" if isinstance(error, AttributeError) else " ".join(str(error).split())


def _read(path: Path, kind: type[InputError] | type[BundleError]) -> bytes:
    try:
        return read_small(path, _MOST_BYTES)
    except OSError as error:
        hint = "; the bundle is not signed" if kind is BundleError and isinstance(error, FileNotFoundError) else ""
        raise kind(f"{path}: {error.strerror or error}{hint}") from error
    except ValueError as error:  # a name with a null byte
        raise kind(f"{str(path)!r}: {error}") from error
