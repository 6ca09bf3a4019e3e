"""A Hugging Face hub on the loopback: model repositories served from local directories over the hub's HTTP API.

The demo, the sandbox and the tests download from it, so that real clients (ours, and the `huggingface_hub` package)
take their real paths with no network. `python -m localmodel.sandbox.hub` runs it as a program.
"""

from localmodel.sandbox.hub.repository import Repository
from localmodel.sandbox.hub.server import HubServer, RequestRecord
from localmodel.sandbox.hub.synthetic import make_synthetic_model

__all__ = ["HubServer", "Repository", "RequestRecord", "make_synthetic_model"]
