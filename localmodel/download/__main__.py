"""`python -m localmodel.download`: the `localmodel-download` program."""

from localmodel.download.main import main

main()
