"""The server of `vae-web` serves only the page and the bundle, with the headers that WebAssembly threads need."""

from __future__ import annotations

import http.client
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import Bundle
from runtime.errors import InputError, OutputError
from runtime.web import find_site, make_server
from tests.runtime.children import child

COMMAND = Path(sys.executable).parent / "vae-web"


@pytest.fixture
def site(page: Path) -> Path:
    """The page, with a secret file next to its folder."""
    page.with_name("secret").write_text("secret")
    return page


@pytest.fixture
def port(site: Path, bundle: Path) -> Iterator[int]:
    (bundle / "notes.txt").write_text("not in the manifest")
    server = make_server(Bundle.open(bundle), site, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return answer


def test_page_and_bundle_are_served(port: int, bundle: Path) -> None:
    assert ask(port, "/?bundle=bundle#tab=draw")[2] == b"<!doctype html>"
    assert ask(port, "/bundle/manifest.json")[2] == (bundle / "manifest.json").read_bytes()
    assert ask(port, "/bundle/decoder.onnx")[2] == (bundle / "decoder.onnx").read_bytes()
    assert ask(port, "/vendor/a.wasm")[1]["Content-Type"] == "application/wasm"


@pytest.mark.parametrize(
    "path",
    ["/secret", "/../secret", "/%2e%2e/secret", "/bundle/../../secret", "/bundle/notes.txt", "/bundle/", "//secret"],
)
def test_nothing_else_is_served(port: int, path: str) -> None:
    assert ask(port, path)[0] == 404


def test_headers_isolate_the_page_so_that_wasm_may_use_threads(port: int) -> None:
    _, headers, _ = ask(port, "/")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_a_foreign_name_for_this_machine_is_refused(port: int) -> None:
    assert ask(port, "/", Host="attacker.example")[0] == 403
    assert ask(port, "/", Host=f"localhost:{port}")[0] == 200


def test_only_get_and_head_are_allowed(port: int) -> None:
    status, headers, body = ask(port, "/bundle/decoder.onnx", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0
    assert ask(port, "/", "PUT")[0] == 501


def test_a_missing_page_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `make web`"):
        find_site(tmp_path)


def test_a_port_in_use_gives_one_sentence(port: int, site: Path, bundle: Path) -> None:
    with pytest.raises(OutputError, match=f"127.0.0.1:{port}.*choose another --port"):
        make_server(Bundle.open(bundle), site, port)


def test_the_command_says_where_it_serves_and_stops_at_ctrl_c(site: Path, bundle: Path) -> None:
    command = [COMMAND, bundle, "--site", site, "--port", "0", "--no-open"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.split("127.0.0.1:")[1].split("/")[0])
        assert ask(port, "/")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stdout.read() == "stopped\n"


def test_the_command_without_a_bundle_gives_one_sentence(tmp_path: Path) -> None:
    result = subprocess.run([COMMAND, "--no-open"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: runs/latest/bundle/manifest.json: No such file")
    assert "Traceback" not in result.stderr


def test_ctrl_c_ends_the_server_though_a_fast_request_was_answered_meanwhile(
    site: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_in_thread = socketserver.ThreadingMixIn.process_request
    answered = threading.Event()

    def interrupted(server: Any, request: Any, client_address: Any) -> None:
        answer_in_thread(server, request, client_address)
        assert answered.wait(10)
        time.sleep(0.1)  # the thread lets go of its place
        raise KeyboardInterrupt

    def client(port: int) -> None:
        ask(port, "/")
        answered.set()

    monkeypatch.setattr(socketserver.ThreadingMixIn, "process_request", interrupted)
    with make_server(Bundle.open(bundle), site, 0) as server:
        threading.Thread(target=client, args=(server.server_port,)).start()
        with pytest.raises(KeyboardInterrupt):
            server.handle_request()
