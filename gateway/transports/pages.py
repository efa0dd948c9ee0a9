"""The demo page, its parts, and the JavaScript client, as static files under a strict policy.

Nothing is generated and nothing comes from elsewhere: a page may load only what this gateway
serves and talk only to it. Only files of known kinds are served; a wheel carries the client in
`gateway/pages/client`, a checkout has it in `web/src`.
"""

import os
from pathlib import Path, PurePath

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gateway.transports import headers

PAGES = Path(__file__).parents[1] / "pages"
CHECKOUT_CLIENT = Path(__file__).parents[2] / "web" / "src"

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # no text becomes markup or code: the pages build their nodes
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
HEADERS = {
    **headers.HEADERS,
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",  # revalidated by its ETag: an edit shows on reload
}


def demo_routes() -> list[BaseRoute]:
    """The demo page at `/`, its parts under `/pages/`, the client's modules under `/client/`."""
    client = PAGES / "client"
    return [
        Route("/", _demo, methods=["GET"]),
        Mount("/pages", Assets(directory=PAGES)),
        Mount("/client", Assets(directory=client if client.is_dir() else CHECKOUT_CLIENT)),
    ]


class Assets(StaticFiles):
    """A folder of files of known kinds."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file with its type and the policy's headers; 404 for kinds that are not ours."""
        media_type = TYPES.get(PurePath(full_path).suffix)
        if media_type is None:
            return Response(status_code=404)
        response = super().file_response(full_path, stat_result, scope, status_code)
        if response.status_code != 304:
            response.headers["Content-Type"] = media_type
        response.headers.update(HEADERS)
        return response


async def _demo(_request: Request) -> Response:
    return FileResponse(PAGES / "demo.html", media_type=TYPES[".html"], headers=HEADERS)
