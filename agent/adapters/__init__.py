"""The cases through other packages' loops: an OpenEnv client and an inspect_ai task. Each needs its own extra."""
