"""`vae-web` serves what `Bundle.read` has proven, and strange clients neither hold it up nor fill the terminal."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.bundle import Bundle
from runtime.web import make_server
from tests.runtime.test_hostile import relist
from tests.runtime.test_web import ask

COMMAND = str(Path(sys.executable).parent / "vae-web")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    return folder


@pytest.fixture
def server(bundle: Path, site: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running vae-web, and its port."""
    command = [COMMAND, str(bundle), "--site", str(site), "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().split(":")[2].split("/")[0])
        process.kill()


def stopped(process: subprocess.Popen[str]) -> str:
    """What a server says on stderr in its whole life, ended by SIGTERM."""
    process.terminate()
    _, stderr = process.communicate(timeout=20)
    return stderr


def test_a_link_out_of_the_bundle_is_not_served(
    bundle: Path, tmp_path: Path, server: tuple[subprocess.Popen[str], int]
) -> None:
    relist(bundle, "x.txt", b"root:x:0:0")
    (bundle / "x.txt").unlink()
    (tmp_path / "secret").write_bytes(b"root:x:0:0")
    (bundle / "x.txt").symlink_to(tmp_path / "secret")
    status, _, body = ask(server[1], "/bundle/x.txt")
    assert (status, b"root:x" in body, b"leads out" in body) == (500, False, True)


def test_a_file_that_was_tampered_with_is_not_served(bundle: Path, server: tuple[subprocess.Popen[str], int]) -> None:
    content = bytearray((bundle / "decoder.onnx").read_bytes())
    content[100] ^= 1
    (bundle / "decoder.onnx").write_bytes(content)
    status, _, body = ask(server[1], "/bundle/decoder.onnx")
    assert (status, b"sha256 differs" in body) == (500, True)
    (bundle / "manifest.json").write_text("{}")
    assert ask(server[1], "/bundle/manifest.json")[0] == 500


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_in_the_bundle_holds_nobody_up(bundle: Path, server: tuple[subprocess.Popen[str], int]) -> None:
    (bundle / "decoder.onnx").unlink()
    os.mkfifo(bundle / "decoder.onnx")
    for _ in range(40):
        assert ask(server[1], "/bundle/decoder.onnx")[0] == 500
    assert ask(server[1], "/")[0] == 200


def test_clients_that_hang_up_or_speak_nonsense_are_no_news(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    for request in (
        b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /bundle/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /bundle/../secret HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /bundle/" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n",
        b"",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(request)
    for _ in range(40):  # hang up in the middle of an answer
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.sendall(b"GET /bundle/sampler.pt HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    assert ask(port, "/")[0] == 200
    assert stopped(process) == ""


def test_clients_that_send_a_byte_now_and_then_hold_up_nobody_else(
    bundle: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many of them as are served at once; each byte comes in time, and the whole request never."""
    monkeypatch.setattr("runtime.web._SECONDS_TO_ASK", 0.5)
    with make_server(Bundle.open(bundle), site, 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        slow = [socket.create_connection(("127.0.0.1", server.server_port), timeout=5) for _ in range(16)]
        ended, closed = threading.Event(), 0

        def drip() -> None:
            while not ended.wait(0.1):
                for client in slow:
                    with contextlib.suppress(OSError):
                        client.sendall(b"X")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert ask(server.server_port, "/")[0] == 200
            for client in slow:
                with contextlib.suppress(ConnectionResetError):
                    client.recv(10)  # the server has hung up; otherwise this waits, and raises TimeoutError
                closed += 1
        finally:
            ended.set()
            thread.join()
            for client in slow:
                client.close()
            server.shutdown()
    assert closed == 16


def test_a_slow_line_gets_a_whole_file(bundle: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MB that take several times as long as a client may keep the server waiting."""
    monkeypatch.setattr("runtime.web._SECONDS_TO_ASK", 0.5)
    monkeypatch.setattr("runtime.web._Handler.timeout", 0.5)
    (site / "large.wasm").write_bytes(bytes(2**24))
    with make_server(Bundle.open(bundle), site, 0) as server, socket.socket() as client:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.settimeout(5)
        client.connect(("127.0.0.1", server.server_port))
        client.sendall(b"GET /large.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with client.makefile("rb") as answer:
            while answer.readline().strip():
                pass  # headers
            for _ in range(16):
                assert len(answer.read(2**20)) == 2**20
                time.sleep(0.1)
        server.shutdown()


def test_two_hundred_at_once_are_all_answered(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: ask(port, "/bundle/decoder.onnx")[0], range(200)))
    assert answers == [200] * 200
    assert stopped(process) == ""


def test_connections_that_say_nothing_do_not_keep_it_from_stopping(server: tuple[subprocess.Popen[str], int]) -> None:
    process, port = server
    silent = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(20)]
    assert stopped(process) == ""
    for client in silent:
        client.close()
