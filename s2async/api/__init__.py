"""s2async from Python: settings and areas, runs and streams, and the results that they have saved.

Every function takes a configuration as a :class:`~s2async.Config`, as the path of a TOML file, or as a mapping of
the same form. The functions are also names of the package itself, such as ``s2async.run``.
"""
