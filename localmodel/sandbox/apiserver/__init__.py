"""The embedded Kubernetes API server.

`ApiServer` (in `server`) serves the objects of a `localmodel.runtime.testing.Registry` over HTTPS, to kubectl and any
other client. Beneath it lies `ApiServerCore` (in `core`), which answers requests without any network.
"""
