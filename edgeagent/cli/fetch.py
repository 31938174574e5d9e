"""`edgeagent fetch`: brings the artifact of a claim to a file, as a workflow's first step."""

from __future__ import annotations

import argparse
import re
import sys
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.cli.options import add_json, say, say_json
from edgeagent.cli.progress import ProgressLine
from edgeagent.common.foreign import shown
from edgeagent.common.units import Duration, Size
from edgeagent.config.secretfile import secret_in, why_unusable
from edgeagent.errors import CommandFailed, FetchRefused
from edgeagent.fetch.allowed import OBJECTS, WEB, AllowedUrls, SourceUrl, source_url
from edgeagent.fetch.download import Download, FetchPatience
from edgeagent.fetch.source import Source
from edgeagent.outbox.files import keep_as
from edgeagent.wire.claim import MAX_CLAIM_BYTES, Claim, parse_claim

if TYPE_CHECKING:
    import ssl

_MAX_SIZE = "1GiB"
_RETRY = "2m"
_PACKAGE = "; with Debian's packages: apt install edgeagent-httpx"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "fetch",
        help="bring the large data of an event to a file, verified",
        description="Fetch an artifact, verify its size and SHA-256, and only then give it its name. An interrupted "
        "fetch is continued by the next one.",
    )
    parser.add_argument("ref", metavar="REF", help="a claim (JSON), '-' for one on stdin, or a url")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: the url's last part, in this directory")
    parser.add_argument("--sha256", metavar="HEX", help="with a url: what its content must have")
    parser.add_argument("--size", type=_size, metavar="BYTES", help="with a url: how large it must be")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PREFIX",
        help="fetch only from below this url; may be given again. Needed for file:// and for credentials",
    )
    parser.add_argument("--max-size", type=_size, default=_MAX_SIZE, metavar="SIZE", help=f"default: {_MAX_SIZE}")
    parser.add_argument("--retry", type=_duration, default=_RETRY, metavar="TIME", help=f"default: {_RETRY}")
    parser.add_argument("--ca-file", metavar="FILE", help="the authorities to trust instead of the system's")
    parser.add_argument("--token-file", metavar="FILE", help="a bearer token for an HTTP server")
    parser.add_argument("--user", metavar="NAME", help="a user of an HTTP server, with --password-file")
    parser.add_argument("--password-file", metavar="FILE", help="the user's password")
    add_json(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Fetch it.

    Raises:
        MessageError: REF is no claim.
        StoreError, CommandFailed, StorageFailed: it was not fetched.
    """
    _check_options(args)
    claim = _claim(args)
    if claim.size > args.max_size:
        raise CommandFailed(f"fetch: the claim says {claim.size} bytes, more than --max-size {args.max_size}")
    try:
        url = source_url(claim.url)
    except ValueError as exc:
        raise CommandFailed(f"fetch: the url {shown(claim.url)} {exc}") from exc
    try:
        allowed = AllowedUrls(args.allow)
    except ValueError as exc:
        args.parser.error(f"--allow {exc}")
    if problem := allowed.problem(url) or ("" if url.segments[-1] else f"{url.shown} names no file"):
        raise CommandFailed(f"fetch: {problem}")
    target = Path(args.output) if args.output else Path(_name(url, claim))
    source = _source(args, url, allowed, claim.size)
    with ProgressLine(f"fetch {target.name}") as progress:
        download = Download(
            claim, source, target, keep_as, FetchPatience(args.retry), lambda done: progress.at(done, claim.size)
        )
        fetched = download.run()
    if args.json:
        say_json(
            {
                "file": str(target),
                "size": claim.size,
                "sha256": claim.sha256,
                "contentType": claim.content_type,
                "resumed": fetched.resumed,
                "was_there": fetched.was_there,
            }
        )
        return 0
    how = "was there already" if fetched.was_there else f"from {url.shown}"
    if fetched.resumed:
        how += f", continued after {fetched.resumed} bytes"
    say(f"{target}: {claim.size} bytes, sha256 {claim.sha256}, {how}")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    is_url = args.ref != "-" and not args.ref.lstrip().startswith("{")
    if is_url and (args.sha256 is None or args.size is None):
        args.parser.error("a url needs --sha256 and --size: without them nothing can be verified")
    if not is_url and (args.sha256 is not None or args.size is not None):
        args.parser.error("--sha256 and --size go with a url; a claim has its own")
    if args.sha256 is not None and _SHA256.fullmatch(args.sha256.lower()) is None:
        args.parser.error("--sha256 takes 64 hexadecimal digits")
    if (args.user is None) != (args.password_file is None):
        args.parser.error("--user and --password-file go together")
    if args.user is not None and args.token_file is not None:
        args.parser.error("--token-file and --user exclude each other")
    if (args.user or args.token_file) and not args.allow:
        args.parser.error("credentials need --allow: it says to which server they may go, whatever the claim says")


def _claim(args: argparse.Namespace) -> Claim:
    if args.ref == "-":
        return parse_claim(sys.stdin.buffer.read(MAX_CLAIM_BYTES + 1))
    if args.ref.lstrip().startswith("{"):
        return parse_claim(args.ref.encode("utf-8", "surrogateescape"))
    return Claim(args.ref, int(args.size), args.sha256.lower())


def _name(url: SourceUrl, claim: Claim) -> str:
    """A name for the file in this directory, which a claim may choose only where it is harmless."""
    return url.segments[-1] if _PLAIN_NAME.fullmatch(url.segments[-1]) else claim.sha256


def _source(args: argparse.Namespace, url: SourceUrl, allowed: AllowedUrls, size: int) -> Source:
    if url.scheme in WEB:
        try:
            from edgeagent.fetch.web import WebSource  # noqa: PLC0415  httpx, for this one alone
        except ModuleNotFoundError as exc:
            raise FetchRefused(
                url.shown, f"this needs the extra: pip install 'edgeagent[artifacts]'{_PACKAGE}"
            ) from exc
        return WebSource(url, allowed, size, context=_context(args.ca_file), authorization=_authorization(args))
    if url.scheme in OBJECTS:
        try:
            from edgeagent.fetch.objects import ObjectSource  # noqa: PLC0415  as above
        except ModuleNotFoundError as exc:
            raise FetchRefused(url.shown, "this needs the extra: pip install 'edgeagent[s3]'") from exc
        return ObjectSource(url, size)
    from edgeagent.fetch.files import FileSource  # noqa: PLC0415  as above

    return FileSource(url, allowed.directories(), size)


def _context(ca_file: str | None) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415  as above

    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as exc:
        raise CommandFailed(f"fetch: --ca-file {ca_file} cannot be used: {why_unusable(exc)}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _authorization(args: argparse.Namespace) -> str:
    file = args.token_file or args.password_file
    if file is None:
        return ""
    try:
        secret = secret_in(file)
    except OSError as exc:
        raise CommandFailed(f"fetch: {file} cannot be read: {exc.strerror}") from exc
    if args.user is not None:
        return "Basic " + b64encode(args.user.encode() + b":" + secret).decode()
    try:
        return "Bearer " + secret.decode("ascii").strip()
    except UnicodeDecodeError as exc:
        raise CommandFailed(f"fetch: {file} holds no token: it is not ASCII") from exc


def _size(text: str) -> Size:
    try:
        return Size.parse(int(text) if text.isdecimal() else text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _duration(text: str) -> Duration:
    try:
        return Duration.parse(float(text) if text.isdecimal() else text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
