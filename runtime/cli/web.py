"""`vae-web`: serves the latent explorer with one bundle."""

from __future__ import annotations

from pathlib import Path

import click

from runtime.cli.command import Command, bundle_argument
from runtime.text import printable


@click.command(cls=Command)
@bundle_argument
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--open/--no-open", "open_browser", default=True, show_default=True, help="Open the page in the browser.")
@click.option(
    "--site",
    type=click.Path(path_type=Path),
    help="Folder with another build of the page.  [default: the page in the package, or web/dist of a checkout]",
)
def web(bundle: Path, port: int, open_browser: bool, site: Path | None) -> None:
    """Explore BUNDLE in the browser  [default: runs/latest/bundle].

    Serves the latent explorer and the bundle to this machine only (127.0.0.1), until Ctrl-C. The wheel of `make wheel`
    contains the page; in a checkout, build it first with `make web`, which needs Node. For other web hosts,
    `vae-export --site` writes page and bundle as one folder.
    """
    from runtime.bundle import Bundle
    from runtime.web import find_site, make_server

    with make_server(Bundle.open(bundle), find_site(site), port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        try:
            click.echo(printable(f"{bundle} at {address} (Ctrl-C stops)"))
            if open_browser:
                click.launch(address)
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped")
