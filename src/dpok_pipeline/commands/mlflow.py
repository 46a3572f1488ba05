"""`kedro mlflow ui`: MLflow's pages on the store that an environment's runs are tracked in."""

from __future__ import annotations

import os
import socket
import sys

import click

from dpok_pipeline.commands.options import OneLineCommand
from dpok_pipeline.commands.project import config_loader
from dpok_pipeline.configuration.tracking import TrackingConfig, read_tracking
from dpok_pipeline.errors import InputError
from dpok_pipeline.tracking.headline import VIEW, VIEW_TAG

HOST, PORT = "127.0.0.1", 5000
# Defaults of environment variables; a value that the user has set stays.
ENVIRONMENT = {
    # These processes judge language models; a look at runs does not need them.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@click.group(name="mlflow")
def mlflow() -> None:
    """Look at tracked runs."""


@mlflow.command(name="ui", cls=OneLineCommand)
@click.option("--env", default=None, help="Environment whose runs the link leads to.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(1, 65535))
def ui(env: str | None, host: str, port: int) -> None:
    """Serve the runs on this machine; where a server tracks them, say where it is."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        config = read_tracking(config_loader(env))
        is_server = config.tracking_uri.startswith(("http://", "https://"))
        address = config.tracking_uri.rstrip("/") if is_server else f"http://{host}:{port}"
        page = runs_page(config, address)
        if not is_server:
            check_free(host, port)
        click.echo(f"Runs: {page}")
    except InputError as error:
        raise click.ClickException(str(error)) from None
    if is_server:
        return
    sys.stdout.flush()
    # The server takes this process's place, so that Ctrl-C and SIGTERM reach it. This interpreter
    # starts it, so that `mlflow` need not be on the PATH.
    options = ["--backend-store-uri", config.tracking_uri, "--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *options, "--workers", "1"])


def runs_page(config: TrackingConfig, address: str) -> str:
    """Return the address of the page that lists an environment's runs.

    The page of an experiment itself would open in a view for language models, without runs.

    Args:
        config: Store and MLflow experiment of the runs.
        address: Address of MLflow's pages, such as http://127.0.0.1:5000.

    Raises:
        InputError: MLflow does not answer.
    """
    from dpok_pipeline.pipelines.mlflow_store import connect, in_one_line

    client = connect(config.tracking_uri)
    with in_one_line():
        experiment = client.get_experiment_by_name(config.experiment_name)
    if experiment is None:
        return f"{address} ({config.experiment_name} has none yet: `kedro run` makes them)"
    page = f"{address}/#/experiments/{experiment.experiment_id}/runs"
    # The view has the paper's table as columns; evaluation leaves it there.
    return f"{page}?viewStateShareKey={VIEW}" if VIEW_TAG in experiment.tags else page


def check_free(host: str, port: int) -> None:
    """Refuse an address that a server cannot listen on.

    Raises:
        InputError: The port is taken, or this machine has no such address.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InputError(
            f"--host {host} --port {port}: {reason}; give another one, such as "
            f"--host {HOST} --port {port % 65535 + 1}"
        ) from None
