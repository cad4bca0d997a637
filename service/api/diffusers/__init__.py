"""The protocol of diffusers.utils.remote_utils: autoencoders of image generators, used by its pipelines from afar."""
