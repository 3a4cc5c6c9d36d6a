"""Whatever the Hub, the network or the client library raises, as one line that a person can act on."""

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from geograph_types.cli import CommandError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError


@contextlib.contextmanager
def hub_errors(repo_id: str, consequence: str) -> Iterator[None]:
    """Whatever the Hub, the network or the client library raises becomes one `CommandError` line."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    http = _http_library(HfHubHTTPError)
    try:
        yield
    except CommandError:
        raise
    except (http.HTTPError, OSError, RuntimeError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, http.HTTPError | OfflineModeIsEnabled):
            cause = cause.__cause__
        if isinstance(cause, HfHubHTTPError) and not isinstance(error, ValueError):
            reason = _explain(cause, repo_id)
        elif isinstance(cause, OfflineModeIsEnabled):
            reason = "the Hub may not be asked while HF_HUB_OFFLINE is set"
        elif isinstance(cause, http.TransportError):
            from huggingface_hub import constants

            detail = str(cause) or type(cause).__name__
            reason = f"no connection to {constants.ENDPOINT}, or it broke off ({detail}); check the network"
        elif isinstance(error, RuntimeError):
            reason = type(cause or error.__cause__ or error).__name__
        else:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if isinstance(error, RuntimeError):  # says which file was being sent, and nothing else
            reason = f"{str(error).rstrip('.')}: {reason}"
        raise CommandError(f"{repo_id}: {reason}; {consequence}") from error


def _http_library(hub_error: type[Exception]) -> ModuleType:
    """What huggingface_hub speaks HTTP with: httpx in its versions 1, httpx2 since 2."""
    (name,) = {base.__module__.split(".")[0] for base in hub_error.__mro__} & {"httpx", "httpx2"}
    return importlib.import_module(name)


def _explain(error: "HfHubHTTPError", repo_id: str) -> str:
    """An HTTP status → what it means for someone who publishes, with the Hub's own words where it gave any."""
    from huggingface_hub import constants

    status = error.response.status_code
    said = f": {error.server_message}" if error.server_message else ""
    if status == 401:
        return (
            f"the Hub does not accept the token (401{said}); make one with write access at "
            f"{constants.ENDPOINT}/settings/tokens, then run `hf auth login` or set HF_TOKEN"
        )
    if status == 403:
        return f"the token has no right to write there (403{said}); take one with write access to {repo_id}"
    if status in (409, 412):
        return f"it changed while this ran, or the name is taken (409{said}); look at it, then run this again"
    if status == 429:
        return f"the Hub asks for a pause (429{said}); try again later"
    if status >= 500:
        return f"the Hub has a fault of its own ({status}{said}); try again later"
    return f"the Hub refuses ({status}{said})"
