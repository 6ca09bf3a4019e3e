"""The manager program (`localmodel-manager`): one reconciler class per resource.

`nodes` writes the LocalModelNodes, `caches` the status, finalizers and volumes of both kinds of cache, `nodegroups` the
status of groups; `containers` tells what is wrong with storage containers; `settings` holds the configuration; `main`
puts them together. `entries`, `status`, `storagecontainers` and the naming in `volumes` are pure functions that these
call. Which field has which writer: design.md section 4.
"""
