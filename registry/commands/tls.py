"""`shoal tls`: an authority of one's own, for those who have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from registry.commands.options import json_option, told_plainly

if TYPE_CHECKING:
    from registry.commands.run_tls import Issued

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("tls"),
    show_default=True,
    help="Where the authority and its certificates are kept.",
)
_PORT = 5000
_LOCAL = ("localhost", "127.0.0.1", "::1")


@click.group()
def tls() -> None:
    """Make a private certificate authority, and certificates for the server and for clients."""


@tls.command()
@directory_option
@click.option(
    "--host", "hosts", metavar="NAME", multiple=True, help="A name or address that clients use; may be given again."
)
@click.option("--force", is_flag=True, help="Replace the server's certificate; the authority stays.")
@json_option
@told_plainly
def init(directory: Path, hosts: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Make an authority and a certificate for the server, and say where clients want the authority.

    Without --host the certificate is for this machine's names and its loopback addresses. With --force it is renewed,
    by the same authority and for the same hosts: clients need nothing new, and a server that runs takes it by itself.
    """
    from registry.commands.run_tls import init as make

    issued = make(directory, hosts, force=force)
    if as_json:
        click.echo(json.dumps({**_report(issued), "hosts": issued.hosts, "new_ca": issued.new_ca}, indent=2))
        return
    click.echo(_advice(issued))


@tls.command()
@click.argument("name")
@directory_option
@click.option(
    "--group", "groups", metavar="NAME", multiple=True, help="A group that the client is in; may be given again."
)
@click.option("--force", is_flag=True, help="Replace the certificate of that name.")
@json_option
@told_plainly
def client(name: str, directory: Path, groups: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Make a certificate for the client NAME, which it shows to servers whose tls.client_ca is this authority."""
    from registry.commands.run_tls import client as make

    issued = make(directory, name, groups, force=force)
    if as_json:
        click.echo(json.dumps(_report(issued), indent=2))
        return
    click.echo(
        f"{issued.certificate} and {issued.key} are {name}'s until {issued.valid_until:%Y-%m-%d}.\n\n"
        f"The server takes them with\n\n[tls]\nclient_ca = {_quoted(issued.ca)}\n\n"
        "docker, podman and skopeo want them beside the authority's certificate, as client.cert and client.key;\n"
        'containerd in hosts.toml: client = [["…/client.cert", "…/client.key"]]'
    )


def _report(issued: Issued) -> dict[str, object]:
    return {
        "ca": str(issued.ca.resolve()),
        "cert": str(issued.certificate.resolve()),
        "key": str(issued.key.resolve()),
        "valid_until": issued.valid_until.isoformat(),
    }


def _quoted(path: Path) -> str:
    return json.dumps(str(path.resolve()), ensure_ascii=False)


def _advice(issued: Issued) -> str:
    host = next((name for name in issued.hosts if name not in _LOCAL and "*" not in name), issued.hosts[0])
    at = f"[{host}]:{_PORT}" if ":" in host else f"{host}:{_PORT}"
    ca = issued.ca.resolve()
    made = "A new authority, and a" if issued.new_ca else "The authority is the one of before, with a new"
    return f"""\
{made} certificate until {issued.valid_until:%Y-%m-%d} for {", ".join(issued.hosts)}.
Keep {issued.ca.with_name("ca.key").resolve()} to yourself: who has it can be any server or client.

Settings of the server (its user must be able to read the key):

[tls]
cert = {_quoted(issued.certificate)}
key = {_quoted(issued.key)}

Clients need {ca}; {at} stands for what they write before the name of an image:

docker           /etc/docker/certs.d/{at}/ca.crt (no restart)
podman, skopeo   /etc/containers/certs.d/{at}/ca.crt, or --cert-dir
containerd       /etc/containerd/certs.d/{at}/hosts.toml:
                   server = "https://{at}"
                   [host."https://{at}"]
                   ca = "/etc/containerd/certs.d/{at}/ca.crt"
                 with config_path = "/etc/containerd/certs.d" in its settings; ctr wants --hosts-dir
everything else  /usr/local/share/ca-certificates/shoal.crt, then update-ca-certificates

Run this with --force within a year: the server takes the new certificate by itself."""
