"""The cluster controllers that a laptop lacks, as ordinary reconcilers on `localmodel.runtime`.

They hold to what kube-controller-manager, kube-scheduler and the kubelet do as far as a controller under test can tell,
talk only through the API, and so run against the embedded server and against a bare kube-apiserver alike. One module
per controller; `main` puts them together; `kubelet/` runs containers as local processes.
"""
