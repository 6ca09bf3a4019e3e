"""As whom a download's pod runs, and with which pull secrets (D-49, D-54).

A pod runs as the ServiceAccount that the entry names, or the clouds' workload identities would be worth nothing: some
are bound by an annotation on the account (IRSA, Google Cloud, Azure), some by its mere name (EKS Pod Identity, workload
identity federation), so any account that is named counts. The cluster's own token is mounted into no download.

KServe runs all downloads as the namespace's default account. Kubernetes gives a pod the pull secrets of its account
only where it names none itself: so where anything is named here, those of the default account are named with it.
"""

from __future__ import annotations

from typing import Final

from localmodel.api.config import LocalModelConfig
from localmodel.api.credentials import DEFAULT_ACCOUNT
from localmodel.runtime.client import Reader
from localmodel.runtime.objects import ServiceAccount

from .additions import Credentials

AZURE_CLIENT_ANNOTATION: Final = "azure.workload.identity/client-id"
AZURE_USE_LABEL: Final = "azure.workload.identity/use"
"""On a pod (on the account too, in older versions): Azure's webhook gives it a token of the account's identity."""


def runs_as(account: ServiceAccount) -> Credentials:
    """What makes a pod run as the account."""
    is_azure = (
        AZURE_CLIENT_ANNOTATION in account.metadata.annotations
        or account.metadata.labels.get(AZURE_USE_LABEL) == "true"
    )
    return Credentials(
        service_account=account.name,
        image_pull_secrets=tuple(reference.name for reference in account.image_pull_secrets),
        pod_labels={AZURE_USE_LABEL: "true"} if is_azure else {},
    )


def pull_secrets(reader: Reader, config: LocalModelConfig, credentials: Credentials) -> list[str]:
    """The names of a Job's pull secrets, in the job namespace; none where Kubernetes finds them by itself.

    Raises ApiError and TransportError.
    """
    named = [*config.job_image_pull_secrets, *credentials.image_pull_secrets]
    if not named and credentials.service_account in ("", DEFAULT_ACCOUNT):
        return []
    default = reader.find(ServiceAccount, DEFAULT_ACCOUNT, namespace=config.jobs_namespace)
    named += [reference.name for reference in default.image_pull_secrets] if default is not None else []
    return [name for name in dict.fromkeys(named) if name]
