# The server makes one environment a version, so this is the version of emow2v that the module was made with.
__version__ = "0.1.0"
