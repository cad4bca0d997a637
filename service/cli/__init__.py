"""The command line `autoencoder-service`."""
