"""The folder of model packages: versions, loading, verification in a child process, live reload."""
