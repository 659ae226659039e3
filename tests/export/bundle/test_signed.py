"""Signed bundles: only the owner's signature of these very files is accepted, and whatever else fails closed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("model_signing")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from export.cli import export
from runtime import Bundle, BundleError, InputError, Reconstructor, Sampler
from runtime.cli import verify
from tests.runtime.test_hostile import relist
from trainer.training.run_folder import Run


@dataclass(frozen=True)
class Keys:
    private: Path
    public: Path

    @classmethod
    def make(cls, folder: Path, name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Keys:
        pem, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        keys = cls(folder / f"{name}.pem", folder / f"{name}.pub")
        plain = serialization.NoEncryption()
        keys.private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        keys.public.write_bytes(key.public_key().public_bytes(pem, kind))
        return keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"), "ours", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"), "theirs", ec.generate_private_key(ec.SECP384R1()))


def run_export(run: Run, output: Path, *options: object) -> Result:
    arguments = ["--checkpoint", run.best, "--format", "onnx", "--output", output, *options]
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def _signed(tiny_run: Run, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed") / "bundle"
    result = run_export(tiny_run, folder, "--sign", keys.private)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def signed(_signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_signed, tmp_path / "signed"))


def run_verify(bundle: Path, key: Path) -> Result:
    return CliRunner().invoke(verify, [str(bundle), "--public-key", str(key), "--verbose"])


def test_a_signed_bundle_is_accepted_everywhere(signed: Path, keys: Keys) -> None:
    assert Sampler(signed, public_key=keys.public).sample(2).shape == (2, 12, 12, 1)
    Reconstructor(signed, public_key=str(keys.public))
    result = run_verify(signed, keys.public)
    assert result.exit_code == 0, result.output
    assert "manifest.json.sig" in result.output
    assert CliRunner().invoke(verify, [str(signed)]).exit_code == 0  # without a key, as before


def test_the_command_of_the_library_accepts_it_too(signed: Path, keys: Keys) -> None:
    program = "from model_signing._cli import main; main()"
    files = [signed / "manifest.json", "--signature", signed / "manifest.json.sig", "--public_key", keys.public]
    done = subprocess.run([sys.executable, "-c", program, "verify", "key", *map(str, files)], capture_output=True)
    assert done.returncode == 0, done.stderr


def with_another_weight(bundle: Path, others: Keys) -> None:
    content = bytearray((bundle / "decoder.onnx").read_bytes())
    content[-100] ^= 1
    relist(bundle, "decoder.onnx", bytes(content))


def with_another_word(bundle: Path, others: Keys) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["metadata"]["provenance"]["trained on"] = "something else"
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def without_a_signature(bundle: Path, others: Keys) -> None:
    (bundle / "manifest.json.sig").unlink()


def with_an_empty_signature(bundle: Path, others: Keys) -> None:
    (bundle / "manifest.json.sig").write_bytes(b"")


def with_a_huge_signature(bundle: Path, others: Keys) -> None:
    (bundle / "manifest.json.sig").write_bytes(b" " * 2**21)


def with_a_pipe_for_a_signature(bundle: Path, others: Keys) -> None:
    (bundle / "manifest.json.sig").unlink()
    os.mkfifo(bundle / "manifest.json.sig")


def with_nobodys_signature(bundle: Path, others: Keys) -> None:
    signature = json.loads((bundle / "manifest.json.sig").read_text())
    signature["dsseEnvelope"]["signatures"] = []
    (bundle / "manifest.json.sig").write_text(json.dumps(signature))


def with_the_signature_of_other_files(bundle: Path, others: Keys) -> None:
    """Ours, but of a bundle that differs."""
    original = (bundle / "manifest.json.sig").read_bytes()
    with_another_word(bundle, others)
    (bundle / "manifest.json.sig").write_bytes(original)


def signed_by_somebody_else(bundle: Path, others: Keys) -> None:
    from runtime.signature import load_signer, sign

    sign(bundle, load_signer(others.private))


@pytest.mark.parametrize(
    "attack",
    [
        with_another_weight,
        with_another_word,
        without_a_signature,
        with_an_empty_signature,
        with_a_huge_signature,
        with_a_pipe_for_a_signature,
        with_nobodys_signature,
        with_the_signature_of_other_files,
        signed_by_somebody_else,
    ],
)
def test_whatever_is_not_the_owners_signature_of_this_manifest_is_refused(
    signed: Path, keys: Keys, others: Keys, attack: Callable[[Path, Keys], None]
) -> None:
    attack(signed, others)
    for opening in (Sampler, Reconstructor):
        with pytest.raises(BundleError, match=r"manifest\.json\.sig: "):
            opening(signed, public_key=keys.public)
    result = run_verify(signed, keys.public)
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    assert result.output.startswith("Error: ")


def test_a_file_that_changes_under_a_whole_signature_is_found_by_its_hash(signed: Path, keys: Keys) -> None:
    content = bytearray((signed / "decoder.onnx").read_bytes())
    content[-100] ^= 1
    (signed / "decoder.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="sha256 differs"):
        Sampler(signed, public_key=keys.public)


def test_a_wrong_key_is_refused(signed: Path, others: Keys) -> None:
    with pytest.raises(BundleError, match="is not a signature of this manifest by the owner"):
        Sampler(signed, public_key=others.public)


@pytest.mark.parametrize(
    "content", [None, b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_refused(signed: Path, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match="key: "):
        Sampler(signed, public_key=tmp_path / "key")


@pytest.mark.parametrize("key", [5, True, b"key.pub", [], "a\0b"])
def test_a_key_that_is_no_path_is_refused(signed: Path, key: Any) -> None:
    with pytest.raises(InputError):
        Sampler(signed, public_key=key)


def test_a_key_of_another_kind_is_named_as_such(signed: Path, tmp_path: Path) -> None:
    key = Keys.make(tmp_path, "rsa", rsa.generate_private_key(65537, 2048)).public
    with pytest.raises(InputError, match=r"\(it is of another kind\)"):
        Sampler(signed, public_key=key)


def test_a_key_that_cannot_sign_is_refused_before_the_slow_part(tiny_run: Run, keys: Keys, tmp_path: Path) -> None:
    rsa_keys = Keys.make(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    for key in (keys.public, rsa_keys.private, tmp_path / "missing.pem"):
        result = run_export(tiny_run, tmp_path / "b", "--sign", key)
        assert (result.exit_code, str(key) in result.output, "decoder.onnx" in result.output) == (1, True, False)
        assert not (tmp_path / "b").exists()


def test_a_key_beside_an_open_bundle_is_not_ignored(signed: Path, keys: Keys) -> None:
    with pytest.raises(InputError, match=r"give it to Bundle\.open"):
        Sampler(Bundle.open(signed), public_key=keys.public)


def test_the_signature_is_outside_the_reproducible_files_and_goes_with_them(
    signed: Path, keys: Keys, tiny_run: Run, tmp_path: Path
) -> None:
    unsigned = tmp_path / "unsigned"
    assert run_export(tiny_run, unsigned).exit_code == 0
    names = {path.name for path in unsigned.iterdir()}
    assert {path.name for path in signed.iterdir()} - names == {"manifest.json.sig"}
    assert all((signed / name).read_bytes() == (unsigned / name).read_bytes() for name in names)
    assert run_export(tiny_run, signed).exit_code == 0  # replaces the signature too, which would be of other files
    assert {path.name for path in signed.iterdir()} == names
