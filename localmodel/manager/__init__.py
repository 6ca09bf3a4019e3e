"""The manager program (`localmodel-manager`): one reconciler class per resource.

`nodes` writes the LocalModelNodes and labels of Nodes, `caches` the status, finalizers and volumes of both kinds of
cache, `nodegroups` the status of groups and their DaemonSets; `containers` tells what is wrong with storage containers;
`settings` holds the configuration, `validators` are the webhooks; `main` puts them together. `entries`, `reports`,
`labels`, `status`, `agents`, `storagecontainers` and the naming in `volumes` are pure functions that these call. Which
field has which writer: design.md section 4.
"""
