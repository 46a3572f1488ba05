"""`kedro study`: the newest page of the human study, served on this machine or to a network."""

from __future__ import annotations

import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from dpok_pipeline.commands.mlflow import check_free
from dpok_pipeline.commands.options import OneLineCommand
from dpok_pipeline.errors import InputError

HOST, PORT = "127.0.0.1", 8765


@click.command(name="study", cls=OneLineCommand)
@click.option("--env", default=None, help="Environment whose study is served.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(1, 65535))
def study(env: str | None, host: str, port: int) -> None:
    """Serve the newest study page; its answers stay in the rater's browser."""
    try:
        page = newest_page(env)
        check_free(host, port)
    except InputError as error:
        raise click.ClickException(str(error)) from None
    with make_server(page, host, port) as server:
        click.echo(f"Study: http://{host}:{port}/  (Ctrl-C ends it)")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo()


def newest_page(env: str | None) -> bytes:
    """Return the newest study page of an environment.

    Raises:
        InputError: There is none yet.
    """
    from kedro.framework.session import KedroSession

    with KedroSession.create(env=env) as session:
        catalog = session.load_context().catalog
        if not catalog.exists("study_page"):
            option = "" if env in (None, "local") else f" --env {env}"
            raise InputError(
                "study_page has not been made yet: run evaluation first, "
                f"`kedro run --pipelines evaluation{option}`"
            )
        return str(catalog.load("study_page")).encode()


def make_server(page: bytes, host: str, port: int) -> ThreadingHTTPServer:
    """Make a server of one page and nothing else: the key lies in the same folder.

    Args:
        page: Content of the page.
        host: Address to listen on.
        port: Port; 0 takes a free one.
    """

    class PageHandler(BaseHTTPRequestHandler):
        """Answers `/` with the page; no path of a request reaches the disk."""

        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/"
            content = page if found else b"There is one page here: /\n"
            self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
            kind = "text/html" if found else "text/plain"
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: who opens the page is nobody's business."""

    return ThreadingHTTPServer((host, port), PageHandler)
