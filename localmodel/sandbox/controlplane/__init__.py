"""API servers that a test can run on, behind one interface (controller-runtime's envtest ControlPlane).

`base` is the interface; `embedded` the server of this project, in this process; `binaries` a stock etcd and
kube-apiserver; `existing` a cluster that is there already; `choice` which of them the environment asks for. `envtest`
is what tests use of it.
"""
